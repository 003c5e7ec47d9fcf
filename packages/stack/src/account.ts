import { existsSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, resolve } from 'node:path'

export interface Account {
  uid: number
  gid: number
}

/** The user as whom servers run when this process is root (PostgreSQL refuses to be root); undefined means: as ourselves. */
export function unprivilegedAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name, , uid, gid] = line.split(':')
    if (name === 'nobody') return { uid: Number(uid), gid: Number(gid) }
  }
  return undefined
}

/** Whether any user may reach what is below `folder`. */
export function isOpenToAll(folder: string): boolean {
  for (let at = resolve(folder); ; at = dirname(at)) {
    try {
      if ((statSync(at).mode & 0o001) === 0) return false
    } catch {
      return false
    }
    if (at === dirname(at)) return true
  }
}

/** A socket in a folder of a server has a path of 107 bytes at most. */
const longestFolder = 64

/**
 * Where data folders go: the system's folder for temporary files, unless the account cannot reach it, a socket's path would be too long or the
 * server cannot live with its letters. One that does not exist is for the caller to hear of.
 */
export function temporaryFolder({
  account,
  asciiPaths = false,
}: {
  account: Account | undefined
  asciiPaths?: boolean | undefined
}): string {
  const usual = tmpdir()
  if (asciiPaths && !/^[\x20-\x7e]*$/.test(usual)) return '/tmp'
  const reached = account === undefined || isOpenToAll(usual) || !existsSync(usual)
  return reached && Buffer.byteLength(usual) <= longestFolder ? usual : '/tmp'
}
