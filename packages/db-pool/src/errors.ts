const brand = Symbol.for('@platform/db-pool/error')

/** Every code, and whether the same call may simply be made again: the server has certainly done nothing. */
const codes = {
  /** An option is missing, of the wrong kind, out of range or unknown. `option` names it. */
  ERR_DB_POOL_OPTION: { retryable: false },
  /** No connection came free in time. `waitedMs`, `inUse`, `waiting` and `holders` say why; `cause` is the last failed attempt to connect. */
  ERR_DB_POOL_ACQUIRE_TIMEOUT: { retryable: true },
  /** The server refuses for good: the credential, the database, a start parameter. `cause` is its answer. */
  ERR_DB_POOL_CONNECT: { retryable: false },
  /** The connection died while the statement ran: whether it took effect is unknown. */
  ERR_DB_POOL_CONNECTION_LOST: { retryable: false },
  /** The pool is closed, or was closed while the call waited or ran. */
  ERR_DB_POOL_CLOSED: { retryable: false },
  /** A new credential did not pass its probe: the old one stays. */
  ERR_DB_POOL_ROTATE_REJECTED: { retryable: false },
  /** The connection died during COMMIT: the transaction may or may not have taken effect. */
  ERR_DB_POOL_COMMIT_UNKNOWN: { retryable: false },
  /** A statement failed, its error was swallowed, and the server rolled back instead of committing. `cause` is that error. */
  ERR_DB_POOL_TX_ABORTED: { retryable: false },
  /** A transaction was used after it had ended. */
  ERR_DB_POOL_TX_ENDED: { retryable: false },
  /** A transaction was used beside a savepoint that is still open in it. */
  ERR_DB_POOL_TX_BUSY: { retryable: false },
  /** A statement that begins or ends a transaction, inside `db.transaction`, which does that itself. */
  ERR_DB_POOL_TX_CONTROL: { retryable: false },
  /** `afterCommit` on a connection that is not ours or has no open transaction. */
  ERR_DB_POOL_NO_AFTER_COMMIT: { retryable: false },
  /** A connection was used, or released again, after its release. */
  ERR_DB_POOL_RELEASED: { retryable: false },
  /** Files of migrations that cannot be used: bad names, equal numbers, own transaction control. `file` names it. */
  ERR_DB_POOL_MIGRATION_INVALID: { retryable: false },
  /** A file was changed after it had been applied. `file` names it. */
  ERR_DB_POOL_MIGRATION_CHANGED: { retryable: false },
  /** A new file has a lower number than one that is applied. `file` names it. */
  ERR_DB_POOL_MIGRATION_ORDER: { retryable: false },
  /** An applied file is gone although later ones are there. `file` names it. */
  ERR_DB_POOL_MIGRATION_MISSING: { retryable: false },
  /** Another process migrates and did not end in time, or a file let go of the lock. */
  ERR_DB_POOL_MIGRATION_LOCKED: { retryable: true },
  /** An earlier try left an invalid index. `file` names the file that builds it. */
  ERR_DB_POOL_MIGRATION_INDEX: { retryable: false },
  /** Not through a pooler that gives each transaction another connection. */
  ERR_DB_POOL_POOLER: { retryable: false },
  /** A file failed and was rolled back. `file` names it, `cause` is the server's error. */
  ERR_DB_POOL_MIGRATION_FAILED: { retryable: false },
} as const

export type DbPoolErrorCode = keyof typeof codes

/** A server process that keeps another one waiting for a lock. */
export interface Blocker {
  readonly pid: number
  /** Its `application_name`; empty where we may not see it. */
  readonly application: string
  /** As in `pg_stat_activity`: `active`, `idle in transaction`, …; empty where we may not see it. */
  readonly state: string
  /** How long its transaction has been open; 0 when unknown. */
  readonly transactionMs: number
}

/** One who holds a connection while others wait. */
export interface Holder {
  readonly heldMs: number
  /** Its server process, as in `pg_stat_activity`; 0 when unknown. */
  readonly pid: number
  /** First word of its latest statement. */
  readonly operation: string
  /** Where it was borrowed; of calls that hold a connection for one statement nothing is kept. */
  readonly stack?: string
  /** The server processes that its statement waits for, a moment before. */
  readonly blockedBy?: readonly Blocker[]
}

export interface DbPoolErrorFacts {
  readonly option?: string
  readonly file?: string
  readonly waitedMs?: number
  readonly inUse?: number
  readonly waiting?: number
  readonly holders?: readonly Holder[]
}

/** Errors of the pool itself. Errors of the server reach the caller as they are (`pg.DatabaseError`, with SQLSTATE in `code`). */
export class DbPoolError extends Error {
  override readonly name = 'DbPoolError'
  readonly code: DbPoolErrorCode
  /** True when the server has certainly done nothing and the call may be made again. */
  readonly retryable: boolean
  declare readonly option?: string
  declare readonly file?: string
  declare readonly waitedMs?: number
  declare readonly inUse?: number
  declare readonly waiting?: number
  declare readonly holders?: readonly Holder[]

  constructor(code: DbPoolErrorCode, message: string, options: { cause?: unknown } & DbPoolErrorFacts = {}) {
    const { cause, ...facts } = options
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.retryable = codes[code].retryable
    Object.assign(this, facts)
    Object.defineProperty(this, brand, { value: true })
  }

  static isInstance(error: unknown): error is DbPoolError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}

/** SQLSTATE of a server's error, looked for through `cause`, since ORMs wrap. */
export function sqlState(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; typeof at === 'object' && at !== null && depth < 5; depth++) {
    const { code, cause, driverError } = at as { code?: unknown; cause?: unknown; driverError?: unknown }
    if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && 'severity' in at) return code
    at = cause ?? driverError
  }
  return undefined
}

/** The server's error says that this connection is gone or no longer to be trusted. Everything else leaves it usable. */
export function endsConnection(error: unknown): boolean {
  const code = sqlState(error)
  if (code === undefined) return false
  const severity = (error as { severity?: string }).severity
  return severity === 'FATAL' || severity === 'PANIC' || code.startsWith('08') || code.startsWith('XX') || code.startsWith('57P')
}

/** The loss of a connection for a reason that others opened before it share: a restart, a failover, a dead network. */
export function endsAllConnections(error: unknown): boolean {
  const code = sqlState(error)
  // Without SQLSTATE the socket itself broke. 25P03 and 57P05 are the server's own timeouts for one idle session, XX a fault of one backend.
  return code === undefined || code.startsWith('08') || code === '57P01' || code === '57P02' || code === '57P03'
}

/** The server refuses to let us in for a reason that waiting does not mend: credential, database, right to connect, start parameter. */
export function refusesForGood(error: unknown): boolean {
  const code = sqlState(error)
  if (code === undefined) return false
  // PgBouncer gives 08P01 to nearly everything; only this one is for good.
  return /^(28|3D|42|22)/.test(code) || (code === '08P01' && refusesParameter(error))
}

export function refusesParameter(error: unknown): boolean {
  return error instanceof Error && error.message.includes('startup parameter')
}

/** A write to a server, or in a transaction, that is read-only. */
export function refusesWrites(error: unknown): boolean {
  return sqlState(error) === '25006'
}

/** The transaction lost against another one and may be run again as a whole. */
export function isSerializationFailure(error: unknown): boolean {
  const code = sqlState(error)
  return code === '40001' || code === '40P01'
}
