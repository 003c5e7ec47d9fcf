import { AsyncResource } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import pg from 'pg'
import { type DbPool, engineOf } from '../db-pool.ts'
import type { Trace } from '../place.ts'
import type { ConnectionPool } from '../pool.ts'
import type { QueryConfig } from '../session.ts'
import { BorrowedClient, type Callback, settle } from './borrowed-client.ts'
import { controlClientOf } from './control-client.ts'

type ConnectCallback = (error: unknown, client: BorrowedClient | undefined, done: (error?: unknown) => void) => void

/** `pg.Pool` without its types: its overloads cannot be restated member by member. `toPgPool` gives them back. */
const PoolBase: new (options: { max: number; Client: unknown }) => EventEmitter = pg.Pool as never

/**
 * Our engine in the clothes of `pg.Pool`, by inheritance, since Drizzle asks `instanceof`. `end()` waits for the clients borrowed here
 * and leaves the engine open: close only what you opened. It emits `acquire` and `release`, never `error`: the engine handles those.
 */
export class EnginePool extends PoolBase {
  readonly #engine: ConnectionPool
  readonly #borrowed = new Set<BorrowedClient>()
  readonly #state: { ending: boolean; ended: boolean; whenEmpty: PromiseWithResolvers<void> }

  constructor(engine: ConnectionPool) {
    super({ max: engine.options.maxSize, Client: controlClientOf(engine) })
    this.#engine = engine
    this.#state = { ending: false, ended: false, whenEmpty: Promise.withResolvers<void>() }
  }

  get totalCount(): number {
    return this.#engine.stats().open
  }
  get idleCount(): number {
    return this.#engine.stats().idle
  }
  get waitingCount(): number {
    return this.#engine.stats().waiting
  }
  get expiredCount(): number {
    return 0
  }

  connect(callback?: ConnectCallback): Promise<BorrowedClient> | undefined {
    const borrowing = this.#borrow(this.#engine.traces.before(this.connect))
    if (callback === undefined) return borrowing
    const done = AsyncResource.bind(callback)
    borrowing.then(
      (client) => process.nextTick(done, undefined, client, client.release),
      (error: unknown) => process.nextTick(done, error, undefined, () => {}),
    )
    return undefined
  }

  query(config: QueryConfig, values?: readonly unknown[] | Callback, callback?: Callback): unknown {
    return typeof values === 'function' ? settle(this.#query(config, undefined), values) : settle(this.#query(config, values), callback)
  }

  end(callback?: Callback): unknown {
    return settle(this.#end(), callback)
  }

  async #borrow(trace?: Trace): Promise<BorrowedClient> {
    if (this.#state.ending) throw new Error('Cannot use a pool after calling end on the pool')
    const session = await this.#engine.acquire(undefined, trace)
    const client = new BorrowedClient(this.#engine, session, (returned, error) => this.#returned(returned, error))
    this.#borrowed.add(client)
    this.emit('acquire', client)
    return client
  }

  #returned(client: BorrowedClient, error: unknown): void {
    this.#borrowed.delete(client)
    this.emit('release', error, client)
    if (this.#state.ending && this.#borrowed.size === 0) this.#state.whenEmpty.resolve()
  }

  async #query(config: QueryConfig, values: readonly unknown[] | undefined): Promise<unknown> {
    if (typeof config === 'object' && typeof config?.submit === 'function') throw new TypeError('a cursor needs a client: use connect()')
    const client = await this.#borrow()
    try {
      return await client.query(config, values)
    } finally {
      client.release()
    }
  }

  async #end(): Promise<void> {
    if (this.#state.ending) throw new Error('Called end on pool more than once')
    this.#state.ending = true
    Object.assign(this, { ending: true })
    if (this.#borrowed.size > 0) await this.#state.whenEmpty.promise
    Object.assign(this, { ended: true })
  }
}

/** For Drizzle, Kysely, Prisma's adapter and everything else that takes a `pg.Pool`. */
export function toPgPool(db: DbPool): pg.Pool {
  return new EnginePool(engineOf(db)) as unknown as pg.Pool
}
