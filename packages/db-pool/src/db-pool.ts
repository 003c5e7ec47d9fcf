import { durationOption, knownOptions } from '@platform/kernel'
import type { Connection, DbPoolStats, Queryable, QueryOptions, QueryResult, Transaction, TransactionOptions } from './connection.ts'
import { withHeldConnection } from './held-connection.ts'
import { giveBack, runAndRelease, runOnSession } from './held-query.ts'
import { createInstruments } from './instrumentation.ts'
import { Listener } from './listener.ts'
import {
  type Cancellable,
  type Credential,
  type DbPoolOptions,
  invalid,
  type ResolvedDbPoolOptions,
  replicaOptions,
  resolveOptions,
} from './options.ts'
import { ConnectionPool } from './pool.ts'
import { ReplicaSet } from './replicas.ts'
import { rotateCredential } from './rotation.ts'
import { runTransaction } from './transaction.ts'

export interface DbPool extends Queryable {
  /** Commits when `work` resolves, rolls back when it rejects or the signal aborts. */
  transaction<T>(work: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>
  /** One connection for several statements. The signal ends the waiting for it and what runs on it. */
  withConnection<T>(work: (connection: Connection) => Promise<T>, options?: Cancellable): Promise<T>
  /**
   * Resolves once the server listens; all channels share one connection beside the pool. After that connection was lost and all channels
   * are listened to again, `onGap` runs: messages may have been missed, so read again what they announce. Returns the unsubscribe.
   */
  listen(channel: string, onMessage: (payload: string) => void, onGap?: () => void, options?: Cancellable): Promise<() => Promise<void>>
  /**
   * Reads that may be a little old: on the replicas in turn, on the writer when none can be reached or there are none. Read-only
   * everywhere: a write rejects with the server's 25006.
   */
  readonly replica: Queryable
  /** New connections use this password, once one has proved it. Rejects with ERR_DB_POOL_ROTATE_REJECTED and changes nothing otherwise. */
  rotate(credential: Credential): Promise<void>
  stats(): DbPoolStats
  ready(options?: Cancellable): Promise<void>
  check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }>
  /** Resolves when nothing is in use and nobody waits. */
  drain(options?: Cancellable): Promise<void>
  /** Refuses new work, waits for what runs, cuts it after `timeoutMs` (default 10000). A later call with less time shortens it. */
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const engines = new WeakMap<DbPool, ConnectionPool>()

/** The engine behind a pool, for what else in this package stands on it. */
export function engineOf(db: DbPool): ConnectionPool {
  const engine = engines.get(db)
  if (engine === undefined) throw invalid('db', 'must come from createDbPool of this package')
  return engine
}

/** Opens nothing: the first call connects, `ready()` is for failing early. */
export function createDbPool(options: DbPoolOptions): DbPool {
  return new PgDbPool(options)
}

class PgDbPool implements DbPool {
  readonly #pool: ConnectionPool
  readonly #listener: Listener
  readonly replica: ReplicaSet
  #closing: Promise<void> | undefined

  constructor(options: DbPoolOptions) {
    const resolved = resolveOptions(options)
    this.#pool = createPool(resolved)
    this.replica = new ReplicaSet(
      this.#pool,
      resolved.replicas.map((url, index) => createPool(replicaOptions(resolved, url, index))),
    )
    this.#listener = new Listener(this.#pool)
    engines.set(this, this.#pool)
  }

  async query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<QueryResult<R>> {
    const signal = options?.signal
    if (signal?.aborted) throw signal.reason
    const session = this.#pool.take() ?? (await this.#pool.wait(signal))
    if (signal === undefined) return runAndRelease<R>(this.#pool, session, text, values)
    try {
      return await runOnSession<R>(this.#pool, session, text, values, signal)
    } finally {
      await giveBack(this.#pool, session)
    }
  }

  transaction<T>(work: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T> {
    return runTransaction(this.#pool, work, options, this.#pool.traces.before(this.transaction))
  }

  withConnection<T>(work: (connection: Connection) => Promise<T>, options?: Cancellable): Promise<T> {
    return withHeldConnection(this.#pool, work, { signal: options?.signal, trace: this.#pool.traces.before(this.withConnection) })
  }

  listen(channel: string, onMessage: (payload: string) => void, onGap?: () => void, options?: Cancellable): Promise<() => Promise<void>> {
    return this.#listener.listen(channel, onMessage, onGap, options)
  }

  rotate(credential: Credential): Promise<void> {
    return rotateCredential(this.#pool, this.replica.pools, credential)
  }

  stats(): DbPoolStats {
    return this.#pool.stats()
  }

  async ready(options?: Cancellable): Promise<void> {
    await this.query('select 1', undefined, options)
  }

  async check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    const { inUse, waiting } = this.stats()
    if (waiting > 0 && inUse >= this.#pool.options.maxSize) {
      return { status: 'warn', message: `all ${inUse} connections are in use and ${waiting} callers wait` }
    }
    await this.query('select 1', undefined, options)
  }

  drain(options?: Cancellable): Promise<void> {
    return this.#pool.drained(options?.signal)
  }

  close(options: { timeoutMs?: number } = {}): Promise<void> {
    knownOptions(invalid, 'close', options, ['timeoutMs'])
    const timeoutMs = durationOption(invalid, 'timeoutMs', options.timeoutMs ?? 10_000, 0)
    const pools = [this.#pool, ...this.replica.pools]
    const closed = pools.map((pool) => pool.close(timeoutMs))
    this.replica.close()
    this.#closing ??= this.#close(pools, closed)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(pools: readonly ConnectionPool[], closed: readonly Promise<void>[]): Promise<void> {
    await Promise.all([this.#listener.close(), ...closed])
    for (const pool of pools) pool.instruments.close()
  }
}

function createPool(options: ResolvedDbPoolOptions): ConnectionPool {
  const pool: ConnectionPool = new ConnectionPool(
    options,
    createInstruments(options.name, options.maxSize, () => pool.stats()),
  )
  return pool
}
