import { choiceOption, durationOption, functionOption, integerOption, isStorableText, knownOptions, safeLogger } from '@platform/kernel'
import type { Queryable } from './connection.ts'
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
  /**
   * `postgres://user@host:port/database?sslmode=…`. Parameters of the URL go to `pg` and win over the options below. Several hosts
   * (`host1:5432,host2:5432`): the one that is not a standby is used, and looked for again when it is lost.
   */
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
  /** Connections kept open and free where that is possible, 0 to `maxSize`. Default 0. */
  minIdle?: number | undefined
  /** Whoever holds a connection for longer is told to the log with the place where it was borrowed, once, ms; 0 is never. Default 10000. */
  leakDetectionThresholdMs?: number | undefined
  /**
   * When a session is reset before the next borrower gets it: `when-needed` is unless each statement provably left nothing; `always` is for
   * databases whose triggers, views or operators change the session. Default `when-needed`.
   */
  sessionReset?: 'when-needed' | 'always' | undefined
  /**
   * What stands between here and the server. `transaction`: PgBouncer or its kind in transaction mode; no start parameter is sent that it
   * refuses, `listen` and `migrate` are refused, sessions hold nothing. Default `none`.
   */
  pooler?: 'none' | 'transaction' | undefined
  /**
   * How many texts with values each connection keeps prepared on the server, 0 to 10000; a text is from its fifth use on. Not behind a
   * pooler. Default 0.
   */
  preparedStatements?: number | undefined
  /** How many processes use the server as this one does: together their pools should fit. Default 1. */
  instances?: number | undefined
  /** Prepares a session: runs on each new connection and after each reset, before anybody gets it. */
  onConnect?: ((connection: Queryable) => Promise<void> | void) | undefined
  /** `application_name` on the server. */
  applicationName?: string | undefined
  logger?: LoggerLike | undefined
}

export interface ResolvedDbPoolOptions {
  /** One for each host. */
  readonly urls: readonly string[]
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
  readonly minIdle: number
  readonly instances: number
  readonly preparedStatements: number
  readonly leakDetectionThresholdMs: number
  readonly sessionReset: 'when-needed' | 'always'
  readonly pooler: 'none' | 'transaction'
  readonly onConnect: DbPoolOptions['onConnect']
  readonly applicationName: string | undefined
  readonly logger: LoggerLike
}

const defaults = {
  maxSize: 10,
  minIdle: 0,
  instances: 1,
  preparedStatements: 0,
  acquireTimeoutMs: 5_000,
  connectTimeoutMs: 5_000,
  statementTimeoutMs: 30_000,
  idleInTransactionTimeoutMs: 30_000,
  idleTimeoutMs: 300_000,
  maxLifetimeMs: 1_800_000,
  cancelTimeoutMs: 5_000,
  keepaliveIntervalMs: 30_000,
  leakDetectionThresholdMs: 10_000,
} as const

const known = [
  ...Object.keys(defaults),
  'url',
  'replicas',
  'password',
  'name',
  'applicationName',
  'sessionReset',
  'pooler',
  'onConnect',
  'logger',
]

export const noopLogger: LoggerLike = { debug: ignore, info: ignore, warn: ignore, error: ignore }
function ignore(): void {}

export function resolveOptions(options: DbPoolOptions): ResolvedDbPoolOptions {
  knownOptions(invalid, '', options, known)
  const urls = hostUrls(options.url)
  const hosts = urls.map((each) => parseUrl('url', each))
  const { replicas = [] } = options
  if (!Array.isArray(replicas)) throw invalid('replicas', 'must be a list of URLs')
  for (const replica of replicas) {
    if (parseUrl('replicas', replica).hostname.includes(',')) throw invalid('replicas', 'must be URLs of one host each')
  }
  if (options.password !== undefined) checkCredential('password', options.password)
  for (const key of ['name', 'applicationName'] as const) {
    if (options[key] !== undefined && (typeof options[key] !== 'string' || options[key] === '' || !isStorableText(options[key])))
      throw invalid(key, 'must be a text that is not empty, in well-formed Unicode without NUL')
  }
  const { logger } = options
  if (logger !== undefined && (['debug', 'info', 'warn', 'error'] as const).some((level) => typeof logger?.[level] !== 'function'))
    throw invalid('logger', 'must have debug, info, warn and error')
  const maxSize = integerOption(invalid, 'maxSize', options.maxSize ?? defaults.maxSize, 1, 10_000)
  const ms = (key: Exclude<keyof typeof defaults, 'maxSize' | 'minIdle' | 'instances' | 'preparedStatements'>, min: number): number =>
    durationOption(invalid, key, options[key] ?? defaults[key], min)
  const prepared = integerOption(invalid, 'preparedStatements', options.preparedStatements ?? defaults.preparedStatements, 0, 10_000)
  return {
    maxSize,
    minIdle: integerOption(invalid, 'minIdle', options.minIdle ?? defaults.minIdle, 0, maxSize),
    instances: integerOption(invalid, 'instances', options.instances ?? defaults.instances, 1, 100_000),
    // A pooler may run each statement in another session.
    preparedStatements: options.pooler === 'transaction' ? 0 : prepared,
    acquireTimeoutMs: ms('acquireTimeoutMs', 1),
    connectTimeoutMs: ms('connectTimeoutMs', 1),
    statementTimeoutMs: ms('statementTimeoutMs', 0),
    idleInTransactionTimeoutMs: ms('idleInTransactionTimeoutMs', 0),
    idleTimeoutMs: ms('idleTimeoutMs', 1),
    maxLifetimeMs: ms('maxLifetimeMs', 1),
    cancelTimeoutMs: ms('cancelTimeoutMs', 1),
    keepaliveIntervalMs: ms('keepaliveIntervalMs', 10),
    leakDetectionThresholdMs: ms('leakDetectionThresholdMs', 0),
    sessionReset: choiceOption(invalid, 'sessionReset', options.sessionReset ?? 'when-needed', ['when-needed', 'always']),
    pooler: choiceOption(invalid, 'pooler', options.pooler ?? 'none', ['none', 'transaction']),
    onConnect: functionOption(invalid, 'onConnect', options.onConnect),
    urls,
    replicas: [...replicas],
    isReplica: false,
    password: options.password,
    name:
      options.name ?? `${hosts.map(({ hostname, port }) => `${hostname || 'localhost'}:${port || 5432}`).join(',')}${hosts[0]?.pathname}`,
    applicationName: options.applicationName,
    logger: safeLogger(logger ?? noopLogger),
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
  // A caller must still have the time to go elsewhere.
  const connectTimeoutMs = Math.min(options.connectTimeoutMs, Math.max(1, Math.floor(options.acquireTimeoutMs / 4)))
  return {
    ...options,
    urls: [url.href],
    replicas: [],
    isReplica: true,
    connectTimeoutMs,
    minIdle: 0,
    instances: 1,
    name: `${options.name} replica ${index + 1}`,
  }
}

/** One URL for each host of a list. */
function hostUrls(url: unknown): readonly string[] {
  if (typeof url !== 'string') throw invalid('url', 'must be a postgres:// URL')
  const begin = url.indexOf('//') + 2
  const path = url.slice(begin).search(/[/?#]/)
  const end = path < 0 ? url.length : begin + path
  const authority = url.slice(begin, end)
  const user = authority.lastIndexOf('@') + 1
  const hosts = authority.slice(user).split(',')
  return hosts.map((host) => url.slice(0, begin + user) + host + url.slice(end))
}

function parseUrl(option: string, url: unknown): URL {
  const parsed = typeof url === 'string' ? URL.parse(url) : null
  // The text of the URL stays out of the message: it may hold a password.
  if (parsed === null || !/^postgres(ql)?:$/.test(parsed.protocol)) throw invalid(option, 'must be a postgres:// URL')
  return parsed
}

export function invalid(option: string, problem: string): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_OPTION', `${option} ${problem}`, { option })
}

/** Throws behind a pooler: `what` needs a connection of its own for longer than a transaction. */
export function mustHaveSessions({ pooler }: ResolvedDbPoolOptions, what: string): void {
  if (pooler === 'none') return
  throw new DbPoolError(
    'ERR_DB_POOL_POOLER',
    `${what} need a session of their own, which a pooler in transaction mode does not give: connect past it`,
  )
}
