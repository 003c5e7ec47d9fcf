import { spawn } from 'node:child_process'
import { accessSync, closeSync, constants, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withDeadline } from '@platform/kernel'
import { onMachine, StackError } from './errors.ts'
import { findExecutable } from './locate.ts'
import type { ResolvedStartOptions } from './options.ts'

/** Where programs that are nobody's package are kept. Root's is open to all, because servers do not run as root. */
export function cacheFolder(): string {
  if (process.getuid?.() === 0) return sharedCache
  return join(process.env['XDG_CACHE_HOME'] || join(home(), '.cache'), 'platform-stack')
}

/** A user without a home gets a folder among the temporary ones. */
function home(): string {
  try {
    const found = process.env['HOME'] || userInfo().homedir
    accessSync(found, constants.W_OK)
    return found
  } catch {
    return join(tmpdir(), `platform-stack-home-${process.getuid?.() ?? 0}`)
  }
}

export function isDebian(): boolean {
  return existsSync('/etc/debian_version') && findExecutable('apt-get') !== undefined
}

export function canInstall(): boolean {
  return process.getuid?.() === 0 && isDebian()
}

/** What Debian asks before it starts a service, and what lets one installation run at a time. */
export interface InstallPlaces {
  policy: string
  lock: string
}

const systemPlaces: InstallPlaces = { policy: '/usr/sbin/policy-rc.d', lock: '/run/lock/platform-stack-install' }

/**
 * Installs packages of the distribution. Nothing is started as a system service: a policy-rc.d that forbids it stands there meanwhile, unless
 * somebody else's does. The script runs on when this process dies.
 */
export async function installPackages(
  packages: string[],
  options: ResolvedStartOptions,
  places: InstallPlaces = systemPlaces,
): Promise<void> {
  options.onProgress(`installing ${packages.join(', ')} from the distribution (apt-get, nothing is started as a service)`)
  await runScript('install-packages.sh', [places.policy, places.lock, ...packages], `installing ${packages.join(', ')}`, options)
}

/** Root's, where the machine's other users find what it has unpacked. */
const sharedCache = '/var/cache/platform-stack'

/** A program of another suite of Debian. */
export interface OtherSuite {
  /** Of the cache folder; another version gets another one. */
  folder: string
  suite: string
  /** Path in the packages. */
  program: string
  /** As apt-get takes them: `name=version` pins one. With libc6 among them the program runs with the C library of its suite. */
  packages: readonly string[]
}

/** Consul left Debian after bullseye. */
export const bullseyeConsul: OtherSuite = {
  folder: 'consul-bullseye',
  suite: 'bullseye',
  program: 'usr/bin/consul',
  packages: ['consul'],
}

/** What `unpack` has left here, called by this user or by root. */
export function unpacked({ folder, program }: OtherSuite): string | undefined {
  return [cacheFolder(), sharedCache].map((cache) => join(cache, folder, program)).find((file) => existsSync(file))
}

/** Fetched from the mirror that apt uses, signatures checked, and unpacked without being installed; returns the program. */
export async function unpack({ folder, suite, program, packages }: OtherSuite, options: ResolvedStartOptions): Promise<string> {
  const name = basename(program)
  options.onProgress(`unpacking ${name} from Debian ${suite} (nothing is installed)`)
  onMachine(`making a folder for ${name}`, () => mkdirSync(cacheFolder(), { recursive: true, mode: 0o755 }))
  await runScript('unpack-packages.sh', [join(cacheFolder(), folder), suite, program, ...packages], `unpacking ${name}`, options)
  return join(cacheFolder(), folder, program)
}

const installTimeoutMs = 600_000

/** Rejects at once when the caller gives up; the script then ends by itself. */
async function runScript(name: string, args: string[], what: string, { signal }: ResolvedStartOptions): Promise<void> {
  signal?.throwIfAborted()
  // Beside the sources and beside what is built of them alike.
  const script = fileURLToPath(new URL(`../scripts/${name}`, import.meta.url))
  const folder = onMachine(`making a folder for ${name}`, () => mkdtempSync(join(tmpdir(), 'platform-stack-install-')))
  const logFile = join(folder, 'install.log')
  const log = openSync(logFile, 'a')
  const child = spawn('/bin/sh', [script, ...args], { cwd: '/', stdio: ['ignore', log, log], detached: true })
  closeSync(log)
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, killer) => resolve(code === 0 ? undefined : `ended with ${killer ?? `code ${code}`}`))
  })
  const fail = (problem: string): StackError => {
    const lastLines = readFileSync(logFile, 'utf8').trim().split('\n').slice(-8).join('\n  ')
    return new StackError('ERR_STACK_INSTALL', `${what} ${problem}; log: ${logFile}\n  ${lastLines}`, { logFile })
  }
  const late = () => fail(`did not end within ${installTimeoutMs / 60_000} minutes`)
  const problem = await withDeadline(installTimeoutMs, late, () => ended, signal)
  if (problem !== undefined) throw fail(problem)
  rmSync(folder, { recursive: true, force: true })
}
