import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Programs of the system, which are not on everybody's PATH. */
const folders = [...(process.env['PATH'] ?? '').split(delimiter).filter(Boolean), '/usr/sbin', '/usr/bin']

function find(program: string): string | undefined {
  return folders
    .map((folder) => join(folder, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

export const sshd = (): string | undefined => find('sshd')
export const registryProgram = (): string | undefined => find('docker-registry')

/** By the package of Debian and Ubuntu that brings it. */
const needed = {
  'openssh-server': sshd,
  'openssh-client': () => find('ssh'),
  'docker-registry': registryProgram,
  git: () => find('git'),
} as const

/** What is missing for a deploy over SSH on this machine, and how it comes; nothing when all is there. */
export function missingForDeploy(): string | undefined {
  const missing = Object.entries(needed).flatMap(([name, isHere]) => (isHere() === undefined ? [name] : []))
  return missing.length === 0 ? undefined : `not installed here: sudo apt-get install ${missing.join(' ')}`
}
