import { chmodSync, chownSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause } from '@platform/kernel'
import { unprivilegedAccount } from './account.ts'
import { canInstall, installPackages } from './debian.ts'
import { StackError } from './errors.ts'
import { findExecutable, missing } from './locate.ts'
import { resolveStartOptions } from './options.ts'
import { freePort } from './ports.ts'
import { postgresVersion } from './postgres.ts'
import { serverEnvironment, supervise } from './supervision.ts'

export interface Pgbouncer extends AsyncDisposable {
  readonly url: string
  close(): Promise<void>
}

const startTimeoutMs = 20_000

/** A PgBouncer in transaction mode before the server of `target`; the machine's, or on Debian as root the distribution's. For tests. */
export async function startPgbouncer(target: string, settings: Record<string, string> = {}): Promise<Pgbouncer> {
  const program = await findProgram()
  const account = unprivilegedAccount()
  const folder = mkdtempSync(join(tmpdir(), 'platform-stack-pgbouncer-'))
  const port = await freePort()
  const server = new URL(target)
  const all = {
    listen_addr: '127.0.0.1',
    listen_port: String(port),
    unix_socket_dir: '',
    auth_type: 'any',
    pool_mode: 'transaction',
    ...settings,
  }
  const file = join(folder, 'pgbouncer.ini')
  const place = `host=${server.hostname} port=${server.port} user=${server.username} password=${server.password}`
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`)
  writeFileSync(file, ['[databases]', `* = ${place}`, '[pgbouncer]', ...lines, ''].join('\n'), { mode: 0o600 })
  if (account !== undefined) for (const path of [folder, file]) chownSync(path, account.uid, account.gid)
  chmodSync(folder, 0o700)
  const supervision = supervise(folder, join(folder, 'pgbouncer.log'))
  const close = (): Promise<void> => supervision.end()
  const url = Object.assign(new URL(target), { port: String(port), hostname: '127.0.0.1' }).href
  try {
    await supervision.run({ command: program, args: [file], env: serverEnvironment(), cwd: folder, account })
    await answers(url)
  } catch (error) {
    await close()
    throw error
  }
  return { url, close, [Symbol.asyncDispose]: close }
}

async function findProgram(): Promise<string> {
  const find = (): string | undefined => findExecutable('pgbouncer', ['/usr/sbin'])
  const options = resolveStartOptions({}, [])
  const here = find()
  if (here !== undefined) return here
  if (options.install && canInstall()) await installPackages(['pgbouncer'], options)
  const found = find()
  if (found === undefined) throw missing({ what: 'PgBouncer', variable: undefined, program: 'pgbouncer' }, options.install)
  return found
}

async function answers(url: string): Promise<void> {
  const deadline = performance.now() + startTimeoutMs
  for (;;) {
    try {
      await postgresVersion(url)
      return
    } catch (cause) {
      if (performance.now() > deadline) throw new StackError('ERR_STACK_TIMEOUT', 'PgBouncer does not answer', { cause })
      await pause(50)
    }
  }
}
