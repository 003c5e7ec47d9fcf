import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { StackError } from './errors.ts'
import { findExecutable } from './locate.ts'
import type { ResolvedStartOptions } from './options.ts'

/** Where programs that are nobody's package are kept. Root's is open to all, because servers do not run as root. */
export function cacheFolder(): string {
  if (process.getuid?.() === 0) return '/var/cache/platform-stack'
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'platform-stack')
}

export function isDebian(): boolean {
  return existsSync('/etc/debian_version') && findExecutable('apt-get') !== undefined
}

export function canInstall(): boolean {
  return process.getuid?.() === 0 && isDebian()
}

/**
 * Installs packages of the distribution. Nothing is started as a system service: a policy-rc.d that forbids it stands there meanwhile, and
 * goes again unless it was there before. The script runs on when this process dies, so the guard never stays behind.
 */
export async function installPackages(packages: string[], options: ResolvedStartOptions): Promise<void> {
  options.onProgress(`installing ${packages.join(', ')} from the distribution (apt-get, nothing is started as a service)`)
  await runScript(installScript, packages, `installing ${packages.join(', ')}`, options)
}

const installScript = `
export DEBIAN_FRONTEND=noninteractive
mkdir -p /run/lock
exec 9>/run/lock/platform-stack-install
flock 9
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
install() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" 9>&-; }
update() {
  for attempt in 1 2 3 4 5; do
    apt-get -q update 9>&- && return
    sleep 2 # another apt-get holds the lists
  done
}
install "$@" || { update && install "$@"; }
`

/** Consul left Debian after bullseye; its package is fetched from there, its signature checked, and unpacked without being installed. */
export async function unpackConsul(options: ResolvedStartOptions): Promise<string> {
  const folder = join(cacheFolder(), 'consul-bullseye')
  const program = join(folder, 'usr/bin/consul')
  if (existsSync(program)) return program
  options.onProgress('unpacking consul from Debian bullseye (nothing is installed)')
  mkdirSync(cacheFolder(), { recursive: true, mode: 0o755 })
  await runScript(consulScript, [folder], 'unpacking consul', options)
  return program
}

const consulScript = `
exec 9>"$1.lock"
flock 9
[ -x "$1/usr/bin/consul" ] && exit 0
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1; }
from=$(mirror)
[ -n "$from" ] || { apt-get -q update; from=$(mirror); }
[ -n "$from" ] || { echo 'apt knows no mirror of Debian'; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from bullseye main" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/files"
apt_get() {
  apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" \\
    -o Dir::Cache="$work/cache" -o APT::Get::List-Cleanup=0 "$@"
}
apt_get update
cd "$work/files"
apt_get download consul
dpkg-deb -x consul_*.deb "$work/root"
rm -rf "$1"
mv "$work/root" "$1"
`

/** Rejects at once when the caller gives up; the script then ends by itself. */
async function runScript(script: string, args: string[], what: string, { signal }: ResolvedStartOptions): Promise<void> {
  signal?.throwIfAborted()
  const folder = mkdtempSync(join(tmpdir(), 'platform-stack-install-'))
  const logFile = join(folder, 'install.log')
  const log = openSync(logFile, 'a')
  const child = spawn('/bin/sh', ['-e', '-c', script, 'sh', ...args], { cwd: '/', stdio: ['ignore', log, log], detached: true })
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, killer) => resolve(code === 0 ? undefined : `ended with ${killer ?? `code ${code}`}`))
  })
  const timer = new AbortController()
  const late = sleep(installTimeoutMs, `did not end within ${installTimeoutMs / 60_000} minutes`, { signal: timer.signal, ref: false })
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const problem = await Promise.race([ended, late, aborted.promise])
    if (problem === undefined) {
      rmSync(folder, { recursive: true, force: true })
      return
    }
    const lastLines = readFileSync(logFile, 'utf8').trim().split('\n').slice(-8).join('\n  ')
    throw new StackError('ERR_STACK_INSTALL', `${what} ${problem}; log: ${logFile}\n  ${lastLines}`, { logFile })
  } finally {
    timer.abort()
    late.catch(() => {})
    signal?.removeEventListener('abort', onAbort)
  }
}

const installTimeoutMs = 600_000
