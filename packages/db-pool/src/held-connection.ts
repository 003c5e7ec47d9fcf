import { orAborted } from '@platform/kernel'
import type { Connection, QueryOptions, QueryResult } from './connection.ts'
import { DbPoolError } from './errors.ts'
import { runOnSession } from './held-query.ts'
import type { Trace } from './place.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'

interface HoldOptions {
  readonly signal?: AbortSignal | undefined
  readonly trace?: Trace | undefined
  /** What is left in the session is our own doing and is told to nobody. */
  readonly expected?: boolean
}

/** One connection for as long as the work takes. */
export async function withHeldConnection<T>(
  pool: ConnectionPool,
  work: (connection: Connection) => Promise<T>,
  { signal, trace, expected = false }: HoldOptions,
): Promise<T> {
  const session = await pool.acquire(signal, trace)
  const connection = new HeldConnection(pool, session)
  try {
    return await orAborted(work(connection), signal)
  } catch (error) {
    if (signal?.aborted) session.cancelAll(error, pool.options.cancelTimeoutMs)
    throw error
  } finally {
    connection.release()
    if (expected) void pool.restore(session, { expected })
    else pool.release(session)
  }
}

class HeldConnection implements Connection {
  readonly #pool: ConnectionPool
  readonly #session: Session
  #released = false

  constructor(pool: ConnectionPool, session: Session) {
    this.#pool = pool
    this.#session = session
  }

  get transactionStatus(): 'I' | 'T' | 'E' {
    return this.#session.status
  }

  async query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<QueryResult<R>> {
    if (this.#released) throw new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was used after its release')
    return runOnSession<R>(this.#pool, this.#session, text, values, options?.signal)
  }

  release(): void {
    this.#released = true
  }
}
