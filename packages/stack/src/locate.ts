import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { StackError } from './errors.ts'
import { installVariable } from './options.ts'

/** Servers often stand where a user's PATH does not look. */
const usualFolders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/opt/homebrew/sbin', '/opt/homebrew/bin']

/** The full path of a program, looked for in `first`, PATH and the usual folders. */
export function findExecutable(name: string, first: string[] = []): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  return [...first, ...path, ...usualFolders].map((folder) => join(folder, name)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

export interface Missing {
  what: string
  variable?: string | undefined
  program: string
}

/** The switch, for messages. */
export const allowing: string = `allow it by { install: true } or ${installVariable}=1`

export function missing({ what, variable, program }: Missing, mayInstall: boolean): StackError {
  const ways = [
    ...(variable === undefined ? [] : [`name a running one in ${variable}`]),
    `install ${program}`,
    'start a container engine (docker) that has its image',
    mayInstall
      ? 'run as root on Debian, where it is installed from the distribution'
      : `${allowing} to pull its image or, as root on Debian, to install its package`,
  ]
  return new StackError('ERR_STACK_MISSING', `${what} is not here. Either ${ways.join(', or ')}.`)
}
