import { backgroundTimeout } from '@platform/kernel'
import { hasSeen, type Position, writerPosition } from './causality.ts'
import type { Queryable, QueryOptions, QueryResult } from './connection.ts'
import { DbPoolError, sqlState } from './errors.ts'
import { runAndRelease, runOnSession } from './held-query.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'
import { runTransaction } from './transaction.ts'

/** A replica that failed is left alone for so long, then tried in the background: no caller waits for it again. */
const restMs = 2_000

/**
 * Reads that may be a little old. Replicas take turns; one that cannot answer is passed over, and the writer answers when none is left.
 * Read-only everywhere, on the writer too, so that a program finds out at once and not on the day of a failover.
 */
export class ReplicaSet implements Queryable {
  readonly pools: readonly ConnectionPool[]
  readonly #writer: ConnectionPool
  readonly #resting = new Map<ConnectionPool, NodeJS.Timeout | undefined>()
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
    const position = await this.#writer.causality.scope?.position(() => writerPosition(this.#writer, signal))
    const first = this.#turn++
    for (let tried = 0; tried < this.pools.length; tried++) {
      const pool = this.pools[(first + tried) % this.pools.length] as ConnectionPool
      if (this.#resting.has(pool)) continue
      try {
        const result = await queryOn<R>(pool, text, values, signal, position)
        if (result !== 'behind') return result
      } catch (error) {
        const fault = replicaFault(error, pool.options.maxSize)
        if (signal?.aborted || fault === 'none') throw error
        if (fault === 'replica') this.#rest(pool)
      }
    }
    return runTransaction(this.#writer, (tx) => tx.query<R>(text, values), { readOnly: true, signal })
  }

  close(): void {
    for (const timer of this.#resting.values()) clearTimeout(timer)
  }

  #rest(pool: ConnectionPool): void {
    if (this.#resting.has(pool) || pool.closed) return
    this.#resting.set(
      pool,
      backgroundTimeout(() => void this.#tryAgain(pool), restMs),
    )
  }

  async #tryAgain(pool: ConnectionPool): Promise<void> {
    const back = await queryOn(pool, 'select 1', undefined, undefined, undefined).then(
      () => true,
      () => false,
    )
    this.#resting.delete(pool)
    if (!back) this.#rest(pool)
  }
}

/**
 * Whose fault it is. A read has done nothing, so it may be asked elsewhere, unless the statement itself is at fault, or the replica is
 * merely busy: the writer would drown with it. A conflict with recovery is the statement's bad luck on a replica that is well.
 */
function replicaFault(error: unknown, maxSize: number): 'none' | 'statement' | 'replica' {
  if (DbPoolError.isInstance(error)) {
    if (error.code === 'ERR_DB_POOL_CONNECT' || error.code === 'ERR_DB_POOL_CONNECTION_LOST') return 'replica'
    // Nobody holds them, and still none was to be had.
    return error.code === 'ERR_DB_POOL_ACQUIRE_TIMEOUT' && (error.holders?.length ?? 0) < maxSize ? 'replica' : 'none'
  }
  const code = sqlState(error)
  if (code === undefined) return 'none'
  if (code === '40001' || code === '40P01') return 'statement'
  return code === '53300' || code.startsWith('08') || code.startsWith('57P') || code.startsWith('58') || code.startsWith('XX')
    ? 'replica'
    : 'none'
}

/** `behind`: the server has not come as far as `position` yet. */
async function queryOn<R extends object>(
  pool: ConnectionPool,
  text: string,
  values: readonly unknown[] | undefined,
  signal: AbortSignal | undefined,
  position: Position | undefined,
): Promise<QueryResult<R> | 'behind'> {
  const session = await pool.acquire(signal)
  if (position !== undefined && !(await hasCaughtUp(pool, session, position, signal))) return 'behind'
  if (signal === undefined) return runAndRelease<R>(pool, session, text, values)
  try {
    return await runOnSession<R>(pool, session, text, values, signal)
  } finally {
    pool.release(session)
  }
}

/** The session is given back unless it has. */
async function hasCaughtUp(pool: ConnectionPool, session: Session, position: Position, signal: AbortSignal | undefined): Promise<boolean> {
  let seen = false
  try {
    seen = await hasSeen(session, position, signal)
    return seen
  } finally {
    if (!seen) void pool.restore(session, { expected: true })
  }
}
