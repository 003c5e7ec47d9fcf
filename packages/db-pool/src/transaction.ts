import { runAfterCommit } from './commit-hooks.ts'
import type { QueryOptions, QueryResult, Transaction, TransactionOptions } from './connection.ts'
import { DbPoolError, endsConnection, isSerializationFailure } from './errors.ts'
import { runOnSession } from './held-query.ts'
import { invalid } from './options.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'
import { delay, jitteredBackoffMs, raceAbort } from './timing.ts'

const isolations = new Set(['read committed', 'repeatable read', 'serializable'])
const retryDelay = { initialDelayMs: 10, maxDelayMs: 1_000 }

export async function runTransaction<T>(
  pool: ConnectionPool,
  work: (tx: Transaction) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const { signal, maxAttempts = 1 } = options
  const begin = beginStatement(options)
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1) throw invalid('maxAttempts', 'must be a whole number of at least 1')
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptTransaction(pool, work, begin, signal)
    } catch (error) {
      if (attempt >= maxAttempts || signal?.aborted || !isSerializationFailure(error)) throw error
      pool.logger.debug({ attempt, err: error }, 'a transaction lost against another one and is run again')
      await delay(jitteredBackoffMs(attempt, retryDelay.initialDelayMs, retryDelay.maxDelayMs), signal)
    }
  }
}

function beginStatement({ isolation, readOnly }: TransactionOptions): string {
  if (isolation !== undefined && !isolations.has(isolation)) {
    throw invalid('isolation', `must be one of ${[...isolations].join(', ')}`)
  }
  return `begin${isolation === undefined ? '' : ` isolation level ${isolation}`}${readOnly ? ' read only' : ''}`
}

async function attemptTransaction<T>(
  pool: ConnectionPool,
  work: (tx: Transaction) => Promise<T>,
  begin: string,
  signal: AbortSignal | undefined,
): Promise<T> {
  const session = await beginOnLiving(pool, begin, signal)
  const scope = new TransactionScope(pool, session)
  let result: T
  try {
    result = await raceAbort(work(scope), signal)
  } catch (error) {
    if (signal?.aborted && error === signal.reason) {
      scope.end(error)
      session.cancelAll(error, pool.options.cancelTimeoutMs)
      void pool.restore(session, { expected: true })
    } else {
      scope.end()
      await pool.restore(session, { expected: true })
    }
    throw error
  }
  scope.end()
  // From here on an abort ends the caller's waiting, not the COMMIT: stopping that would leave everyone in doubt.
  await raceAbort(commit(pool, session, scope), signal)
  return result
}

/** A connection that turns out to be dead at BEGIN has done nothing yet: one more is tried. */
async function beginOnLiving(pool: ConnectionPool, begin: string, signal: AbortSignal | undefined): Promise<Session> {
  for (let attempt = 1; ; attempt++) {
    const session = await pool.acquire(signal)
    try {
      const begun = session.query(begin)
      await raceAbort(begun, signal)
      return session
    } catch (error) {
      if (signal?.aborted) session.cancelAll(error, pool.options.cancelTimeoutMs)
      void pool.restore(session, { expected: true })
      if (signal?.aborted || attempt === 2 || session.failure === undefined || pool.closed) throw error
    }
  }
}

async function commit(pool: ConnectionPool, session: Session, scope: TransactionScope): Promise<void> {
  if (!(await session.settle(pool.options.statementTimeoutMs || 2 ** 31 - 1)) || session.status === 'E') {
    await pool.restore(session, { expected: true })
    throw aborted(scope.firstError)
  }
  if (session.failure !== undefined) {
    await pool.restore(session)
    throw new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'the connection was lost before COMMIT: nothing was committed', {
      cause: session.failure,
    })
  }
  let result: QueryResult
  try {
    result = await session.query('commit')
  } catch (error) {
    const unknown = endsConnection(error) || session.failure !== undefined
    await pool.restore(session, { expected: true })
    if (!unknown) throw error
    throw new DbPoolError('ERR_DB_POOL_COMMIT_UNKNOWN', 'the connection was lost during COMMIT: the transaction may have taken effect', {
      cause: error,
    })
  }
  pool.release(session)
  // The server answers COMMIT with ROLLBACK when the transaction had failed.
  if (result.command !== 'COMMIT') throw aborted(scope.firstError)
  await runAfterCommit(scope.afterCommits, (error) => pool.logger.error({ err: error }, 'work after a commit failed'))
}

function aborted(cause: unknown): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_TX_ABORTED', 'a statement had failed and its error was caught: nothing was committed', { cause })
}

/** The transaction itself, or a savepoint in it. */
class TransactionScope implements Transaction {
  readonly #pool: ConnectionPool
  readonly #session: Session
  readonly #parent: TransactionScope | undefined
  readonly #depth: number
  readonly afterCommits: (() => void | Promise<void>)[]
  firstError: unknown
  #ended: { readonly reason: unknown } | undefined
  #savepointOpen = false

  constructor(pool: ConnectionPool, session: Session, parent?: TransactionScope) {
    this.#pool = pool
    this.#session = session
    this.#parent = parent
    this.#depth = parent === undefined ? 0 : parent.#depth + 1
    this.afterCommits = parent === undefined ? [] : parent.afterCommits
  }

  async query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<QueryResult<R>> {
    this.mustBeOpen()
    try {
      return await runOnSession<R>(this.#pool, this.#session, text, values, options?.signal)
    } catch (error) {
      this.firstError ??= error
      throw error
    }
  }

  afterCommit(run: () => void | Promise<void>): void {
    this.mustBeOpen()
    this.afterCommits.push(run)
  }

  async transaction<T>(work: (savepoint: Transaction) => Promise<T>): Promise<T> {
    this.mustBeOpen()
    if (this.#savepointOpen) throw new DbPoolError('ERR_DB_POOL_TX_BUSY', 'a savepoint is still open in this transaction')
    this.#savepointOpen = true
    const child = new TransactionScope(this.#pool, this.#session, this)
    try {
      return await child.#runAsSavepoint(work)
    } catch (error) {
      this.firstError ??= child.firstError
      throw error
    } finally {
      this.#savepointOpen = false
    }
  }

  async #runAsSavepoint<T>(work: (savepoint: Transaction) => Promise<T>): Promise<T> {
    const name = `platform_${this.#depth}`
    const registered = this.afterCommits.length
    await this.#session.query(`savepoint ${name}`)
    const rollback = async (): Promise<void> => {
      this.afterCommits.length = registered
      await this.#session.query(`rollback to savepoint ${name}; release savepoint ${name}`)
    }
    let result: T
    try {
      result = await work(this)
    } catch (error) {
      this.end()
      // When not even that works, the whole transaction is lost, which its end will find out.
      if (this.#parent?.open) await rollback().catch(() => {})
      throw error
    }
    this.end()
    this.#parent?.mustBeOpen()
    if (this.#session.status === 'E') {
      await rollback()
      throw aborted(this.firstError)
    }
    await this.#session.query(`release savepoint ${name}`)
    return result
  }

  get open(): boolean {
    return this.#ended === undefined && (this.#parent === undefined || this.#parent.open)
  }

  end(reason?: unknown): void {
    this.#ended ??= { reason }
  }

  mustBeOpen(): void {
    this.#parent?.mustBeOpen()
    if (this.#ended === undefined) return
    throw this.#ended.reason ?? new DbPoolError('ERR_DB_POOL_TX_ENDED', 'the transaction has ended')
  }
}
