import { AsyncResource } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import pg from 'pg'
import { mayHaveWritten } from '../causality.ts'
import { runAfterCommit } from '../commit-hooks.ts'
import { DbPoolError, endsConnection, sqlState } from '../errors.ts'
import type { ConnectionPool } from '../pool.ts'
import type { QueryConfig, Session } from '../session.ts'
import { statementOf } from '../sql/statement.ts'

export type Callback = (error: unknown, result?: unknown) => void

type Listener = Parameters<EventEmitter['on']>[1]

const forwarded = new Set(['error', 'notice', 'notification', 'end', 'drain'])

/**
 * What `pool.connect()` hands out: behaves like a `pg` client as far as ORMs look, belongs to one borrowing and is useless after its
 * release. It sees COMMIT and ROLLBACK pass by, so it has `afterCommit`, and with `query` it is all that an outbox asks of a transaction.
 */
export class BorrowedClient extends EventEmitter {
  readonly #pool: ConnectionPool
  readonly #session: Session
  readonly #onRelease: (client: BorrowedClient, error: unknown) => void
  readonly #forwards: [string, (...facts: unknown[]) => void][] = []
  #released = false

  readonly escapeIdentifier: typeof pg.escapeIdentifier = pg.escapeIdentifier
  readonly escapeLiteral: typeof pg.escapeLiteral = pg.escapeLiteral
  /** May be passed on without its client. */
  readonly release: (error?: unknown) => void = (error) => this.#release(error)

  constructor(pool: ConnectionPool, session: Session, onRelease: (client: BorrowedClient, error: unknown) => void) {
    super()
    this.#pool = pool
    this.#session = session
    this.#onRelease = onRelease
  }

  // `once` and `prependOnceListener` come by here too. A listener of 'newListener' would cost each borrowing more than these.
  override on(event: string, listener: Listener): this {
    this.#forward(event)
    return super.on(event, listener)
  }
  override addListener(event: string, listener: Listener): this {
    this.#forward(event)
    return super.addListener(event, listener)
  }
  override prependListener(event: string, listener: Listener): this {
    this.#forward(event)
    return super.prependListener(event, listener)
  }

  get processID(): number | null {
    return (this.#session.client as unknown as { processID: number | null }).processID
  }
  get host(): string {
    return this.#session.client.host
  }
  get port(): number {
    return this.#session.client.port
  }
  get database(): string | undefined {
    return this.#session.client.database
  }
  get user(): string | undefined {
    return this.#session.client.user
  }
  get connection(): pg.Connection {
    return this.#session.client.connection
  }

  getTransactionStatus(): 'I' | 'T' | 'E' | null {
    return this.#session.client.getTransactionStatus()
  }

  getTypeParser(...facts: Parameters<pg.Client['getTypeParser']>): unknown {
    return this.#session.client.getTypeParser(...facts)
  }

  /** The parser stays with the connection, so the connection does not go to others. */
  setTypeParser(...facts: Parameters<pg.Client['setTypeParser']>): void {
    this.#session.suspect('lasting')
    this.#session.client.setTypeParser(...facts)
  }

  query(config: QueryConfig, values?: readonly unknown[] | Callback, callback?: Callback): unknown {
    const [parameters, done] = typeof values === 'function' ? [undefined, values] : [values, callback]
    if (typeof config === 'object' && typeof config?.submit === 'function') {
      this.#mustBeHeld()
      this.#session.run(config, undefined, () => {})
      return config
    }
    return settle(this.#query(config, parameters), done)
  }

  /**
   * Runs once the server has confirmed the COMMIT of the open transaction; never after a rollback. The runs are started before the
   * caller learns of the commit and not waited for: the caller still holds this connection, and they may need another.
   */
  afterCommit(run: () => void | Promise<void>): void {
    this.#mustBeHeld()
    if (this.#session.status === 'I') throw new DbPoolError('ERR_DB_POOL_NO_AFTER_COMMIT', 'no transaction is open on this connection')
    this.#session.hooks.add(run)
  }

  /** Ends the connection instead of giving it back. */
  async end(): Promise<void> {
    if (!this.#released) this.#release(true)
  }

  ref(): void {}
  unref(): void {}

  async #query(config: QueryConfig, values: readonly unknown[] | undefined): Promise<unknown> {
    this.#mustBeHeld()
    const text = typeof config === 'string' ? config : (config?.text ?? '')
    const { scope } = this.#pool.causality
    const operation = this.#pool.instruments.operation(statementOf(text).operation)
    try {
      const result = await new Promise<unknown>((resolve, reject) => {
        this.#session.run(config, values, (error, answer) => {
          if (error !== undefined) return reject(error)
          if (scope !== undefined && mayHaveWritten(text, this.#session)) scope.noteWrite()
          if (this.#session.hasHooks) this.#runCommitted()
          resolve(answer)
        })
      })
      operation.end()
      return result
    } catch (error) {
      operation.end(error)
      if (error instanceof Error) Error.captureStackTrace(error)
      throw error
    }
  }

  #runCommitted(): void {
    const runs = this.#session.hooks.takeCommitted()
    void runAfterCommit(runs, (error) => this.#pool.logger.error({ err: error }, 'work after a commit failed'))
  }

  #mustBeHeld(): void {
    if (this.#released) throw new DbPoolError('ERR_DB_POOL_RELEASED', 'the client was used after its release')
  }

  #release(error: unknown): void {
    if (this.#released) throw new DbPoolError('ERR_DB_POOL_RELEASED', 'the client was released twice')
    this.#released = true
    if (this.#session.hasHooks) this.#session.hooks.drop()
    for (const [event, listener] of this.#forwards) this.#session.client.off(event, listener)
    // Callers pass the error of a statement here although the connection is well: that is no reason to lose it.
    const wellDespite =
      error === undefined || error === null || error === false || (sqlState(error) !== undefined && !endsConnection(error))
    if (wellDespite) this.#pool.release(this.#session)
    else this.#pool.destroy(this.#session, true)
    this.#onRelease(this, error)
  }

  /** Listens on the connection only for what somebody listens to here; an error nobody listens to must not end the process. */
  #forward(event: string): void {
    if (!forwarded.has(event) || this.#forwards.some(([known]) => known === event)) return
    const listener = (...facts: unknown[]): void => {
      if (event !== 'error' || this.listenerCount('error') > 0) this.emit(event, ...facts)
    }
    this.#forwards.push([event, listener])
    this.#session.client.on(event as 'end', listener)
  }
}

/** A promise for those who passed no callback. A callback that throws is the program's error, as with `pg`. */
export function settle(promise: Promise<unknown>, callback: Callback | undefined): unknown {
  if (callback === undefined) return promise
  const done = AsyncResource.bind(callback)
  promise.then(
    (result) => process.nextTick(done, null, result),
    (error: unknown) => process.nextTick(done, error),
  )
  return undefined
}
