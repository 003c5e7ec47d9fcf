import { readFileSync } from 'node:fs'
import { isatty } from 'node:tty'

/**
 * Who stands between the platform and this process, if it is somebody who is known to keep SIGTERM for himself: a package manager's script, or
 * a shell that a container started (`CMD node main.js` without brackets). At a terminal nobody minds.
 */
export function launcherInBetween(): string | undefined {
  if (process.pid === 1 || isatty(1)) return undefined
  const script = process.env['npm_lifecycle_event']
  // Set by npm, pnpm and Yarn alike; the first word says who it is.
  const [manager] = (process.env['npm_config_user_agent'] ?? 'a package manager').split('/')
  if (script !== undefined) return `${manager} (script "${script}")`
  const shell = process.ppid === 1 ? nameOf(1) : undefined
  return shell !== undefined && /^(ba|da|a)?sh$/.test(shell) ? shell : undefined
}

function nameOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return undefined
  }
}
