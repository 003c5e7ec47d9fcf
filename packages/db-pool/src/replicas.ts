import type { Queryable, QueryOptions, QueryResult } from './connection.ts'
import { DbPoolError } from './errors.ts'
import { runAndRelease, runOnSession } from './held-query.ts'
import type { ConnectionPool } from './pool.ts'
import { runTransaction } from './transaction.ts'

/** A replica that could not be reached is left alone for so long. */
const restMs = 2_000

/**
 * Reads that may be a little old. Replicas take turns; one that cannot be reached is passed over, and the writer answers when none is
 * left. Read-only everywhere, on the writer too, so that a program finds out at once and not on the day of a failover.
 */
export class ReplicaSet implements Queryable {
  readonly pools: readonly ConnectionPool[]
  readonly #writer: ConnectionPool
  readonly #restingUntil = new Map<ConnectionPool, number>()
  #turn = 0

  constructor(writer: ConnectionPool, pools: readonly ConnectionPool[]) {
    this.#writer = writer
    this.pools = pools
  }

  async query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<QueryResult<R>> {
    const signal = options?.signal
    const first = this.#turn++
    for (let tried = 0; tried < this.pools.length; tried++) {
      const pool = this.pools[(first + tried) % this.pools.length] as ConnectionPool
      if ((this.#restingUntil.get(pool) ?? 0) > performance.now()) continue
      try {
        return await queryOn<R>(pool, text, values, signal)
      } catch (error) {
        // Only what certainly did nothing goes elsewhere. One that is merely busy does not: the writer would drown with it.
        if (!DbPoolError.isInstance(error) || error.code !== 'ERR_DB_POOL_CONNECT') throw error
        this.#restingUntil.set(pool, performance.now() + restMs)
      }
    }
    return runTransaction(this.#writer, (tx) => tx.query<R>(text, values), { readOnly: true, signal })
  }
}

async function queryOn<R extends object>(
  pool: ConnectionPool,
  text: string,
  values: readonly unknown[] | undefined,
  signal: AbortSignal | undefined,
): Promise<QueryResult<R>> {
  const session = await pool.acquire(signal)
  if (signal === undefined) return runAndRelease<R>(pool, session, text, values)
  try {
    return await runOnSession<R>(pool, session, text, values, signal)
  } finally {
    pool.release(session)
  }
}
