import { DbPoolError } from './errors.ts'

/** pino's call signature. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export interface SecretLike<T = string> {
  reveal(): T
}
/** A function is asked again at each new connection. */
export type Credential = string | SecretLike | (() => string | SecretLike | Promise<string | SecretLike>)

export interface Cancellable {
  signal?: AbortSignal | undefined
}

export interface DbPoolOptions {
  /** `postgres://user@host:port/database?sslmode=…`. Parameters of the URL go to `pg` and win over the options below. */
  url: string
  /** URLs of servers that follow it, for `db.replica`. Each gets a pool of its own with the same options. Default none. */
  replicas?: readonly string[] | undefined
  /** Wins over a password in the URL. */
  password?: Credential | undefined
  /** Name of the pool in metrics. Default: host:port/database. */
  name?: string | undefined
  /** Most connections at a time, 1 to 10000. Default 10. `listen` takes one more. */
  maxSize?: number | undefined
  /** How long a caller waits for a connection, ms, at least 1. Default 5000. */
  acquireTimeoutMs?: number | undefined
  /** How long one attempt to connect may take, password function included, ms, at least 1. Default 5000. */
  connectTimeoutMs?: number | undefined
  /** The server ends a statement after this, ms; 0 is never. Default 30000. */
  statementTimeoutMs?: number | undefined
  /** The server ends a connection that idles inside a transaction for longer, ms; 0 is never. Default 30000. */
  idleInTransactionTimeoutMs?: number | undefined
  /** A connection unused for longer is closed, ms, at least 1. Default 300000. */
  idleTimeoutMs?: number | undefined
  /** A connection older than this, ± 20 % by chance, is closed once it is free, ms, at least 1. Default 1800000. */
  maxLifetimeMs?: number | undefined
  /** How long a cancelled statement may take to give its connection back before that is destroyed, ms, at least 1. Default 5000. */
  cancelTimeoutMs?: number | undefined
  /** How often the connection of `listen` is checked, ms, at least 10. Default 30000. */
  keepaliveIntervalMs?: number | undefined
  /** `application_name` on the server. */
  applicationName?: string | undefined
  logger?: LoggerLike | undefined
}

export interface ResolvedDbPoolOptions {
  readonly url: string
  readonly replicas: readonly string[]
  /** What follows another server is read-only, and whoever asks it has somewhere else to go: a failed attempt to connect ends the waiting. */
  readonly isReplica: boolean
  readonly password: Credential | undefined
  readonly name: string
  readonly maxSize: number
  readonly acquireTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly statementTimeoutMs: number
  readonly idleInTransactionTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly maxLifetimeMs: number
  readonly cancelTimeoutMs: number
  readonly keepaliveIntervalMs: number
  readonly applicationName: string | undefined
  readonly logger: LoggerLike
}

const numbers = {
  maxSize: { default: 10, min: 1, max: 10_000 },
  acquireTimeoutMs: { default: 5_000, min: 1, max: 2 ** 31 - 1 },
  connectTimeoutMs: { default: 5_000, min: 1, max: 2 ** 31 - 1 },
  statementTimeoutMs: { default: 30_000, min: 0, max: 2 ** 31 - 1 },
  idleInTransactionTimeoutMs: { default: 30_000, min: 0, max: 2 ** 31 - 1 },
  idleTimeoutMs: { default: 300_000, min: 1, max: 2 ** 31 - 1 },
  maxLifetimeMs: { default: 1_800_000, min: 1, max: 2 ** 31 - 1 },
  cancelTimeoutMs: { default: 5_000, min: 1, max: 2 ** 31 - 1 },
  keepaliveIntervalMs: { default: 30_000, min: 10, max: 2 ** 31 - 1 },
} as const

const known = new Set([...Object.keys(numbers), 'url', 'replicas', 'password', 'name', 'applicationName', 'logger'])

export const noopLogger: LoggerLike = { debug: ignore, info: ignore, warn: ignore, error: ignore }
function ignore(): void {}

export function resolveOptions(options: DbPoolOptions): ResolvedDbPoolOptions {
  if (typeof options !== 'object' || options === null) throw invalid('options', 'must be an object')
  for (const key of Object.keys(options)) if (!known.has(key)) throw invalid(key, 'is not an option')
  const url = parseUrl('url', options.url)
  const { replicas = [] } = options
  if (!Array.isArray(replicas)) throw invalid('replicas', 'must be a list of URLs')
  for (const replica of replicas) parseUrl('replicas', replica)
  if (options.password !== undefined) checkCredential('password', options.password)
  for (const key of ['name', 'applicationName'] as const) {
    if (options[key] !== undefined && (typeof options[key] !== 'string' || options[key] === ''))
      throw invalid(key, 'must be a text that is not empty')
  }
  if (options.logger !== undefined && typeof options.logger?.warn !== 'function')
    throw invalid('logger', 'must have debug, info, warn and error')
  const resolved = Object.fromEntries(
    Object.entries(numbers).map(([key, range]) => [key, inRange(key, options[key as keyof typeof numbers], range)]),
  ) as Record<keyof typeof numbers, number>
  return {
    ...resolved,
    url: options.url,
    replicas: [...replicas],
    isReplica: false,
    password: options.password,
    name: options.name ?? `${url.hostname || 'localhost'}:${url.port || 5432}${url.pathname}`,
    applicationName: options.applicationName,
    logger: options.logger ?? noopLogger,
  }
}

export function checkCredential(option: string, credential: unknown): void {
  const good =
    typeof credential === 'string' || typeof credential === 'function' || typeof (credential as SecretLike | null)?.reveal === 'function'
  if (!good) throw invalid(option, 'must be a text, a secret or a function')
}

/** The password for one connection. */
export async function reveal(credential: Credential): Promise<string> {
  const value = typeof credential === 'function' ? await credential() : credential
  return typeof value === 'string' ? value : value.reveal()
}

/** The options of the pool of one replica. */
export function replicaOptions(options: ResolvedDbPoolOptions, replica: string, index: number): ResolvedDbPoolOptions {
  const url = new URL(replica)
  const given = url.searchParams.get('options')
  url.searchParams.set('options', `${given === null ? '' : `${given} `}-c default_transaction_read_only=on`)
  return { ...options, url: url.href, replicas: [], isReplica: true, name: `${options.name} replica ${index + 1}` }
}

function parseUrl(option: string, url: unknown): URL {
  const parsed = typeof url === 'string' ? URL.parse(url) : null
  // The text of the URL stays out of the message: it may hold a password.
  if (parsed === null || !/^postgres(ql)?:$/.test(parsed.protocol)) throw invalid(option, 'must be a postgres:// URL')
  return parsed
}

function inRange(option: string, value: unknown, range: { default: number; min: number; max: number }): number {
  if (value === undefined) return range.default
  if (typeof value !== 'number' || !Number.isInteger(value) || value < range.min || value > range.max) {
    throw invalid(option, `must be a whole number from ${range.min} to ${range.max}`)
  }
  return value
}

export function invalid(option: string, problem: string): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_INVALID_OPTION', `${option} ${problem}`, { option })
}
