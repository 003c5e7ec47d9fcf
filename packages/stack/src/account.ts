import { accessSync, constants, readFileSync, statSync } from 'node:fs'
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

/** Where data folders go: the system's folder for temporary files, unless the account cannot reach it. */
export function temporaryFolder(account: Account | undefined): string {
  const usual = tmpdir()
  if (account === undefined || isOpenToAll(usual)) return usual
  accessSync('/tmp', constants.W_OK)
  return '/tmp'
}
