import { spawnSync } from 'node:child_process'
import { canInstall, installPackages, isDebian, type OtherSuite, unpack, unpacked } from './debian.ts'
import { StackError } from './errors.ts'
import { type Found, findServer } from './find-server.ts'
import { images } from './images.ts'
import { findExecutable } from './locate.ts'
import { type ResolvedStartOptions, resolveStartOptions, type StartOptions } from './options.ts'

/** An nginx of this machine. */
export interface NginxProgram {
  program: string
  version: string
  /** In words, as a server's `origin`. */
  origin: string
}

/** The first that follows a name server without a reload (`resolve` with `service` in an upstream). */
const wanted = [1, 27, 3] as const

/** Debian 12 has 1.22, 13 has 1.26. Its libraries need their own C library there. */
const forkyNginx: OtherSuite = {
  folder: 'nginx-forky-1.30',
  suite: 'forky',
  program: 'usr/sbin/nginx',
  packages: ['nginx=1.30.*', 'libssl3t64', 'libpcre2-8-0', 'zlib1g', 'libcrypt1', 'libzstd1', 'libc6'],
}

/**
 * The nginx that `startNginx` runs without a container, for a program that starts it by itself: the machine's from 1.27.3 on, else 1.30 unpacked
 * from Debian forky (with `install`), else, with a line to `onProgress`, whatever older one is here.
 */
export async function findNginx(options: Pick<StartOptions, 'signal' | 'onProgress' | 'install'> = {}): Promise<NginxProgram> {
  const resolved = resolveStartOptions(options)
  const here = newNginx()
  if (here !== undefined) return here
  const brought = resolved.install && isDebian() ? await unpackNginx(resolved) : undefined
  const found = brought ?? olderNginx(resolved)
  if (found !== undefined) return found
  if (resolved.install && canInstall()) {
    await installPackages(['nginx'], resolved)
    const installed = olderNginx(resolved)
    if (installed !== undefined) return installed
  }
  throw new StackError('ERR_STACK_MISSING', 'nginx is not here. Either install nginx, or, on Debian, allow to unpack it: { install: true }')
}

/** As `findNginx`, with the container before what must be brought here and before an older one. */
export async function nginxOrImage(resolved: ResolvedStartOptions): Promise<Found<NginxProgram>> {
  const install = async () => {
    const brought = await unpackNginx(resolved)
    if (brought !== undefined || findExecutable('nginx') !== undefined) return brought
    if (canInstall()) await installPackages(['nginx'], resolved)
    return newNginx()
  }
  const search = { what: 'nginx', program: 'nginx', image: images.nginx, find: newNginx, install: isDebian() ? install : undefined }
  try {
    return await findServer(search, resolved)
  } catch (error) {
    const missing = StackError.isInstance(error) && error.code === 'ERR_STACK_MISSING' && resolved.source !== 'container'
    const older = missing ? olderNginx(resolved) : undefined
    if (older === undefined) throw error
    return { programs: older }
  }
}

/** What `nginx -v` says of a program, or why it cannot be run. */
export function nginxAt(program: string, origin: string = `machine (${program})`): NginxProgram {
  const { stderr, error } = spawnSync(program, ['-v'], { encoding: 'utf8', timeout: 10_000 })
  const version = /nginx\/(\d+\.\d+\.\d+)/.exec(stderr ?? '')?.[1]
  if (version === undefined)
    throw new StackError('ERR_STACK_MISSING', `${program} does not say its version as nginx does`, { cause: error })
  return { program, version, origin }
}

function newNginx(): NginxProgram | undefined {
  const machine = findExecutable('nginx')
  const own = machine === undefined ? undefined : nginxAt(machine)
  if (own !== undefined && isNew(own.version)) return own
  const forky = unpacked(forkyNginx)
  return forky === undefined ? undefined : nginxAt(forky, `Debian forky (${forky})`)
}

let cannotBeHad = false

/** Undefined, with a line that says why, when forky has moved on or cannot be reached; a process tries once. */
async function unpackNginx(resolved: ResolvedStartOptions): Promise<NginxProgram | undefined> {
  if (cannotBeHad) return undefined
  try {
    const program = await unpack(forkyNginx, resolved)
    return nginxAt(program, `Debian forky (${program})`)
  } catch (error) {
    if (!StackError.isInstance(error)) throw error
    cannotBeHad = true
    resolved.onProgress(`nginx 1.30 cannot be had from Debian forky: ${error.message.split('\n')[0]}`)
    return undefined
  }
}

function olderNginx(resolved: ResolvedStartOptions): NginxProgram | undefined {
  const machine = findExecutable('nginx')
  if (machine === undefined) return undefined
  const older = nginxAt(machine)
  if (!isNew(older.version)) {
    resolved.onProgress(`nginx ${older.version} of this machine is used: it cannot follow a name server, which takes ${wanted.join('.')}`)
  }
  return older
}

function isNew(version: string): boolean {
  const parts = version.split('.').map(Number)
  const differing = wanted.findIndex((number, place) => parts[place] !== number)
  return differing === -1 || Number(parts[differing]) > wanted[differing]!
}
