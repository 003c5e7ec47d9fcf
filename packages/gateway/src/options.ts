import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { isAbsolute } from 'node:path'
import { durationOption, integerOption, knownOptions, safeLogger } from '@platform/kernel'
import type { Discovery } from '@platform/discovery'
import { refuseOption } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'

/** What is needed of an ioredis client. */
export interface RedisLike {
  readonly status: string
  evalsha(sha: string, keys: number, ...args: (string | number)[]): Promise<unknown>
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>
  del(key: string): Promise<unknown>
}

export interface GatewayOptions {
  /** Path of the file of routes. */
  file: string
  /** Absolute path of a folder of this gateway's own, at most 80 bytes long; made if it is not there. nginx's files and sockets lie in it. */
  folder: string
  /** Where instances come from. Lent: it is not closed here. */
  discovery: Pick<Discovery, 'watch'>
  /** For limits that all gateways share. Lent. Default: each gateway counts for itself. */
  redis?: RedisLike | undefined
  /** Path or name of the nginx to run. Default `nginx`. */
  nginx?: string | undefined
  /** Of nginx, 1 to 512. Default: as many as there are processors. */
  workers?: number | undefined
  /** How instances reach nginx. `auto`: by name server from nginx 1.27.3 on, else by reloads. Default `auto`. */
  endpoints?: 'auto' | 'dns' | 'reload' | undefined
  /** Reloads for changed instances are at least so far apart; 0 to 60,000. Default 2000. */
  reloadIntervalMs?: number | undefined
  /** pino's call signature. Gets the access log too. */
  logger?: LoggerLike | undefined
  /** Gets a line for each request that somebody was asked about: who, what, outcome. Default: none is written. */
  audit?: LoggerLike | undefined
}

export interface ResolvedGatewayOptions {
  file: string
  folder: string
  discovery: Pick<Discovery, 'watch'>
  redis: RedisLike | undefined
  nginx: string
  workers: number
  endpoints: 'auto' | 'dns' | 'reload'
  reloadIntervalMs: number
  logger: LoggerLike
  audit: LoggerLike
}

const known = ['file', 'folder', 'discovery', 'redis', 'nginx', 'workers', 'endpoints', 'reloadIntervalMs', 'logger', 'audit']
/** A socket's path has 107 bytes at most. */
const longestFolder = 80

export function resolveOptions(options: GatewayOptions): ResolvedGatewayOptions {
  knownOptions(refuseOption, '', options, known)
  const { file, folder, discovery, redis, nginx = 'nginx', endpoints = 'auto' } = options
  if (typeof file !== 'string' || file === '') throw refuseOption('file', 'must be the path of a file')
  if (typeof folder !== 'string' || !isAbsolute(folder) || Buffer.byteLength(folder) > longestFolder || /[\p{Cc}"\\$]/u.test(folder)) {
    throw refuseOption('folder', `must be an absolute path of at most ${longestFolder} bytes without control characters, quotes, \\ and $`)
  }
  if (typeof discovery?.watch !== 'function') throw refuseOption('discovery', 'must be what createDiscovery gives')
  if (redis !== undefined && typeof redis.evalsha !== 'function') throw refuseOption('redis', 'must be an ioredis client')
  if (typeof nginx !== 'string' || nginx === '') throw refuseOption('nginx', 'must be the path or the name of a program')
  if (!['auto', 'dns', 'reload'].includes(endpoints)) throw refuseOption('endpoints', 'must be one of auto, dns, reload')
  return {
    file,
    folder: folder.replace(/\/+$/, ''),
    discovery,
    redis,
    nginx,
    workers: integerOption(refuseOption, 'workers', options.workers ?? availableParallelism(), 1, 512),
    endpoints,
    reloadIntervalMs: durationOption(refuseOption, 'reloadIntervalMs', options.reloadIntervalMs ?? 2_000, 0, 60_000),
    logger: safeLogger(options.logger),
    audit: safeLogger(options.audit),
  }
}

/** As whom workers run when this process is root: nobody, in the group that the system has for it. */
export function workerUser(): { name: string; group: string } | undefined {
  if (process.getuid?.() !== 0) return undefined
  return { name: 'nobody', group: existsSync('/etc/debian_version') ? 'nogroup' : 'nobody' }
}

const mostConnections = 16_384

/** As many files as a worker may open, less what it needs besides. */
export function workerConnections(): number {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return Math.max(64, Math.min(mostConnections, Number(soft ?? 1024) - 64))
  } catch {
    return 960
  }
}
