import { backoffMs, choiceOption, integerOption, knownOptions, orAborted, pause } from '@platform/kernel'
import { runAfterCommit } from './commit-hooks.ts'
import { commitFacts, outcomeOf, type CommitFacts } from './commit-outcome.ts'
import type { QueryOptions, QueryResult, Transaction, TransactionOptions } from './connection.ts'
import { DbPoolError, endsConnection, isSerializationFailure } from './errors.ts'
import { runOnSession } from './held-query.ts'
import { invalid } from './options.ts'
import type { Trace } from './place.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'
import { statementOf } from './sql/statement.ts'

const isolations = ['read committed', 'repeatable read', 'serializable'] as const
const retryDelay = { initialDelayMs: 10, maxDelayMs: 1_000 }

export async function runTransaction<T>(
  pool: ConnectionPool,
  work: (tx: Transaction) => Promise<T>,
  options: TransactionOptions = {},
  trace?: Trace,
): Promise<T> {
  knownOptions(invalid, 'transaction', options, ['isolation', 'readOnly', 'maxAttempts', 'signal'])
  const begin = beginStatement(options)
  const maxAttempts = integerOption(invalid, 'maxAttempts', options.maxAttempts ?? 1, 1)
  const { signal } = options
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptTransaction(pool, work, begin, signal, trace)
    } catch (error) {
      if (attempt >= maxAttempts || signal?.aborted || !isSerializationFailure(error)) throw error
      pool.logger.debug({ attempt, err: error }, 'a transaction lost against another one and is run again')
      await pause(backoffMs(attempt, retryDelay.initialDelayMs, retryDelay.maxDelayMs), signal)
    }
  }
}

function beginStatement({ isolation, readOnly }: TransactionOptions): string {
  if (isolation !== undefined) choiceOption(invalid, 'isolation', isolation, isolations)
  return `begin${isolation === undefined ? '' : ` isolation level ${isolation}`}${readOnly ? ' read only' : ''}`
}

async function attemptTransaction<T>(
  pool: ConnectionPool,
  work: (tx: Transaction) => Promise<T>,
  begin: string,
  signal: AbortSignal | undefined,
  trace: Trace | undefined,
): Promise<T> {
  const session = await beginOnLiving(pool, begin, signal, trace)
  const scope = new TransactionScope(pool, session)
  let result: T
  try {
    result = await orAborted(work(scope), signal)
  } catch (error) {
    const aborted = signal?.aborted && error === signal.reason
    scope.end(aborted ? error : undefined)
    // What still runs is of no more use to anybody.
    session.cancelAll(error, pool.options.cancelTimeoutMs)
    const restored = pool.restore(session, { expected: true })
    if (!aborted) await restored
    throw error
  }
  scope.end()
  const causality = pool.causality.scope
  // From here on an abort ends the caller's waiting, not the COMMIT: stopping that would leave everyone in doubt.
  await orAborted(
    commit(pool, session, scope, () => causality?.noteWrite()),
    signal,
  )
  return result
}

/** A connection that turns out to be dead at BEGIN has done nothing yet: one more is tried. */
async function beginOnLiving(
  pool: ConnectionPool,
  begin: string,
  signal: AbortSignal | undefined,
  trace: Trace | undefined,
): Promise<Session> {
  for (let attempt = 1; ; attempt++) {
    const session = await pool.acquire(signal, trace)
    try {
      await orAborted(session.query(begin), signal)
      return session
    } catch (error) {
      if (signal?.aborted) session.cancelAll(error, pool.options.cancelTimeoutMs)
      void pool.restore(session, { expected: true })
      if (signal?.aborted || attempt === 2 || session.failure === undefined || pool.closed) throw error
    }
  }
}

async function commit(pool: ConnectionPool, session: Session, scope: TransactionScope, onCommit: () => void): Promise<void> {
  await untilAnswered(session)
  if (session.failure !== undefined) {
    await pool.restore(session)
    throw new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'the connection was lost before COMMIT: nothing was committed', {
      cause: session.failure,
    })
  }
  if (session.status !== 'T') {
    const failed = session.status === 'E'
    await pool.restore(session, { expected: true })
    throw failed ? aborted(scope.firstError) : leftBehind()
  }
  const facts: CommitFacts = {}
  // What waits for the commit: a lost connection drops it from the session.
  const pending = session.hasHooks ? session.hooks.pending : []
  let result: QueryResult
  try {
    result = await session.query('commit', undefined, session.serverLife === undefined ? undefined : commitFacts(facts))
  } catch (error) {
    const lost = endsConnection(error) || session.failure !== undefined
    await pool.restore(session, { expected: true })
    if (!lost) throw error
    await resolveLostCommit(pool, session.serverLife, facts, error)
    onCommit()
    return runAfterCommit(pending, (failure) => pool.logger.error({ err: failure }, 'work after a commit failed'))
  }
  const committed = session.hasHooks ? session.hooks.takeCommitted() : []
  pool.release(session)
  // The server answers COMMIT with ROLLBACK when the transaction had failed.
  if (result.command !== 'COMMIT') throw aborted(scope.firstError)
  onCommit()
  await runAfterCommit(committed, (error) => pool.logger.error({ err: error }, 'work after a commit failed'))
}

/** Statements that the work did not wait for belong to it all the same; the pool sees to it that each ends. */
async function untilAnswered(session: Session): Promise<void> {
  while (!session.quiet && session.failure === undefined) await session.settle(60_000)
}

/** The connection died while COMMIT ran. Returns when the server says that it took effect. */
async function resolveLostCommit(pool: ConnectionPool, life: string | undefined, facts: CommitFacts, cause: unknown): Promise<void> {
  const outcome = await outcomeOf(pool, life, facts)
  pool.logger.warn({ outcome, err: cause }, 'a connection was lost during COMMIT')
  if (outcome === 'committed') return
  if (outcome === 'aborted') {
    throw new DbPoolError(
      'ERR_DB_POOL_CONNECTION_LOST',
      'the connection was lost during COMMIT: the server says that nothing was committed',
      {
        cause,
      },
    )
  }
  throw new DbPoolError('ERR_DB_POOL_COMMIT_UNKNOWN', 'the connection was lost during COMMIT: the transaction may have taken effect', {
    cause,
  })
}

function aborted(cause: unknown): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_TX_ABORTED', 'a statement had failed and its error was caught: nothing was committed', { cause })
}

function leftBehind(): DbPoolError {
  return new DbPoolError(
    'ERR_DB_POOL_TX_CONTROL',
    'the transaction had been ended by a statement of its own: what came after it took effect by itself',
  )
}

/** The transaction itself, or a savepoint in it. */
class TransactionScope implements Transaction {
  readonly #pool: ConnectionPool
  readonly #session: Session
  readonly #parent: TransactionScope | undefined
  readonly #depth: number
  firstError: unknown
  #ended: { readonly reason: unknown } | undefined
  /** How many savepoints stood open when the one in this scope was opened. */
  #savepoint: { readonly level: number } | undefined

  constructor(pool: ConnectionPool, session: Session, parent?: TransactionScope) {
    this.#pool = pool
    this.#session = session
    this.#parent = parent
    this.#depth = parent === undefined ? 0 : parent.#depth + 1
  }

  async query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<QueryResult<R>> {
    this.mustBeOpen()
    this.#mustBeAlone()
    const control = statementOf(text).controls.find(({ verb }) => verb === 'begin' || verb === 'commit' || verb === 'rollback')
    if (control !== undefined) {
      throw new DbPoolError(
        'ERR_DB_POOL_TX_CONTROL',
        `${control.verb.toUpperCase()} inside db.transaction: it commits when its work resolves and rolls back when it rejects`,
      )
    }
    try {
      return await runOnSession<R>(this.#pool, this.#session, text, values, options?.signal)
    } catch (error) {
      this.firstError ??= error
      throw error
    }
  }

  afterCommit(run: () => void | Promise<void>): void {
    this.mustBeOpen()
    this.#session.hooks.add(run, this.#savepoint?.level)
  }

  async transaction<T>(work: (savepoint: Transaction) => Promise<T>): Promise<T> {
    this.mustBeOpen()
    this.#mustBeAlone()
    this.#savepoint = { level: this.#session.hooks.level }
    const child = new TransactionScope(this.#pool, this.#session, this)
    try {
      return await child.#runAsSavepoint(work)
    } catch (error) {
      this.firstError ??= child.firstError
      throw error
    } finally {
      this.#savepoint = undefined
    }
  }

  async #runAsSavepoint<T>(work: (savepoint: Transaction) => Promise<T>): Promise<T> {
    const name = `platform_${this.#depth}`
    await this.#session.query(`savepoint ${name}`)
    const rollback = (): Promise<QueryResult> => this.#session.query(`rollback to savepoint ${name}; release savepoint ${name}`)
    let result: T
    try {
      result = await work(this)
    } catch (error) {
      this.end()
      this.#session.cancelAll(error, this.#pool.options.cancelTimeoutMs)
      // When not even that works, the whole transaction is lost, which its end will find out.
      if (this.#parent?.open) await rollback().catch(() => {})
      throw error
    }
    this.end()
    await untilAnswered(this.#session)
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

  /** What is sent beside an open savepoint would run inside of it and be undone with it. */
  #mustBeAlone(): void {
    if (this.#savepoint === undefined) return
    throw new DbPoolError('ERR_DB_POOL_TX_BUSY', 'a savepoint is open in this transaction: use it, or wait until it has ended')
  }
}
