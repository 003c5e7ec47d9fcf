import type pg from 'pg'
import { sendCancelRequest } from './cancel-request.ts'
import type { CommitHooks } from './commit-hooks.ts'
import type { QueryResult } from './connection.ts'
import { DbPoolError, endsConnection } from './errors.ts'
import { type Residue, statementOf } from './statement.ts'
import { settlesWithin } from './timing.ts'

/** What `pg` takes: a text, its config object, or something that submits itself (a cursor). */
export type QueryConfig = string | ({ text?: string; submit?: unknown } & object)
export type Done = (error: unknown, result?: QueryResult | QueryResult[]) => void

interface Job {
  readonly config: QueryConfig
  readonly values: readonly unknown[] | undefined
  readonly done: Done
}

type SubmitQuery = (config: unknown, values?: unknown, done?: (error: Error | null, result: QueryResult) => void) => unknown

/**
 * One server connection. It sends one statement at a time and knows when the server is ready for the next one, which is later than
 * the moment an error arrives. It always has an error listener, so a dying server never crashes the process.
 */
export class Session {
  readonly client: pg.Client
  readonly epoch: number
  readonly expiresAt: number
  takenAt = 0
  idleSince = 0
  operation = ''
  residue: Residue = 'none'
  /** Why the connection is unusable; undefined while it is well. */
  failure: Error | undefined
  hooks: CommitHooks | undefined
  /** The transaction status when the latest statement was sent. */
  statusBefore: 'I' | 'T' | 'E' = 'I'

  readonly #onLoss: (session: Session, error: Error) => void
  readonly #queue: Job[] = []
  readonly #whenQuiet: (() => void)[] = []
  readonly #ended: Promise<void>
  #busy = false
  /** Whose statement is, or was last, on the server. */
  #running: Done | undefined
  #reportFailure: (() => void) | undefined
  #cancelling: Promise<void> | undefined
  #onStatementEnd: (() => void) | undefined

  constructor(
    client: pg.Client,
    facts: { epoch: number; expiresAt: number; takenAt: number },
    onLoss: (session: Session, error: Error) => void,
  ) {
    this.client = client
    this.epoch = facts.epoch
    this.expiresAt = facts.expiresAt
    this.takenAt = facts.takenAt
    this.idleSince = facts.takenAt
    this.#onLoss = onLoss
    this.#ended = new Promise((resolve) => {
      client.once('end', () => {
        this.#fail(new Error('the server closed the connection'))
        resolve()
      })
    })
    client.on('error', (error: Error) => this.#fail(error))
    client.on('drain', () => {
      this.#busy = false
      this.#report()
      this.#onStatementEnd?.()
      this.#pump()
    })
    // The server reports some settings when they change, whoever changed them (a function, a DO block).
    client.connection.on('parameterStatus', () => {
      if (this.residue === 'none') this.residue = 'reset'
    })
  }

  get status(): 'I' | 'T' | 'E' {
    return this.client.getTransactionStatus() ?? 'I'
  }

  get quiet(): boolean {
    return !this.#busy && this.#queue.length === 0 && this.#cancelling === undefined
  }

  /** `done` is called once, when the server is ready for the next statement or the connection is lost. */
  run(config: QueryConfig, values: readonly unknown[] | undefined, done: Done): void {
    if (this.failure !== undefined) {
      const { failure } = this
      process.nextTick(() => done(failure))
    } else if (this.#busy || this.#cancelling !== undefined) {
      this.#queue.push({ config, values, done })
    } else {
      this.#send(config, values, done)
    }
  }

  /** One statement, as a promise, with the pool's errors. */
  query<R extends object>(text: string, values?: readonly unknown[]): Promise<QueryResult<R>> {
    return new Promise((resolve, reject) => {
      this.run(text, values, (error, result) => {
        if (error === undefined) resolve(lastResult<R>(result))
        else reject(this.explain(error))
      })
    })
  }

  /** A bare loss of the socket becomes an error with a code; what the server said stays as it is. */
  explain(error: unknown): unknown {
    if (this.failure === undefined || !(error instanceof Error) || 'severity' in error || DbPoolError.isInstance(error)) return error
    if (DbPoolError.isInstance(this.failure)) return this.failure
    return new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'the connection was lost while a statement ran', { cause: error })
  }

  /** Ends one statement: takes it out of the queue, or out of the server. */
  cancel(done: Done, reason: unknown, timeoutMs: number): void {
    const index = this.#queue.findIndex((job) => job.done === done)
    if (index >= 0) for (const job of this.#queue.splice(index, 1)) job.done(reason)
    else if (this.#running === done) this.#cancelRunning(timeoutMs)
  }

  /** Ends all of them. */
  cancelAll(reason: unknown, timeoutMs: number): void {
    for (const job of this.#queue.splice(0)) job.done(reason)
    this.#cancelRunning(timeoutMs)
  }

  #cancelRunning(timeoutMs: number): void {
    if (!this.#busy || this.failure !== undefined || this.#cancelling !== undefined) return
    this.#cancelling = this.#requestCancel(timeoutMs).finally(() => {
      this.#cancelling = undefined
      this.#pump()
    })
  }

  /**
   * A CancelRequest may overtake its statement on the way and find nothing to cancel, so it is repeated until the statement has ended.
   * Meanwhile nothing else is sent that it could hit.
   */
  async #requestCancel(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    for (let pauseMs = 20; this.#busy && this.failure === undefined && performance.now() < deadline; pauseMs = Math.min(pauseMs * 2, 500)) {
      await sendCancelRequest(this.client, timeoutMs)
      if (!this.#busy) return
      const ended = new Promise<void>((resolve) => {
        this.#onStatementEnd = resolve
      })
      await settlesWithin(ended, pauseMs)
    }
  }

  /** True when the server is ready for the next statement and no CancelRequest is on its way; false when that took longer than allowed. */
  async settle(timeoutMs: number): Promise<boolean> {
    if (this.quiet || this.failure !== undefined) return true
    return settlesWithin(new Promise<void>((resolve) => this.#whenQuiet.push(resolve)), timeoutMs)
  }

  /** Says goodbye to the server; resolves when the socket is closed. */
  async end(): Promise<void> {
    this.failure ??= new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was closed by the pool')
    this.client.end().catch(() => {})
    if (await settlesWithin(this.#ended, 1_000)) return
    this.#cut()
    await settlesWithin(this.#ended, 1_000)
  }

  /** Ends it without a goodbye: running statements fail with `reason`. */
  async kill(reason: Error): Promise<void> {
    this.failure ??= reason
    this.#cut()
    await settlesWithin(this.#ended, 1_000)
  }

  #cut(): void {
    this.client.connection.stream.destroy()
    this.client.end().catch(() => {})
  }

  #send(config: QueryConfig, values: readonly unknown[] | undefined, done: Done): void {
    this.#busy = true
    this.#running = done
    this.statusBefore = this.status
    const text = typeof config === 'string' ? config : config?.text
    if (text !== undefined) {
      const statement = statementOf(text)
      this.operation = statement.operation
      if (statement.residue !== 'none' && this.residue !== 'discard') this.residue = statement.residue
    }
    const query = this.client.query.bind(this.client) as SubmitQuery
    try {
      if (typeof config === 'object' && typeof config?.submit === 'function') {
        query(config)
        return
      }
      query(config, values, (error, result) => {
        if (error === null || error === undefined) {
          // `pg` calls back after ReadyForQuery, so the next statement may go out right here.
          this.#busy = false
          // After an error of its own (a value that cannot be sent) it calls a second time, without an error.
          if (this.#reportFailure === undefined) done(undefined, result)
          else this.#report()
          this.#onStatementEnd?.()
          this.#pump()
        } else if (this.failure !== undefined) {
          done(error)
        } else {
          // ReadyForQuery, and with it the transaction status, is still to come.
          if (endsConnection(error)) this.residue = 'discard'
          this.#reportFailure = () => done(error)
        }
      })
    } catch (error) {
      this.#busy = false
      done(error)
      this.#pump()
    }
  }

  /** The server is ready and no CancelRequest can hit what is sent now. */
  #pump(): void {
    if (this.#busy || this.#cancelling !== undefined || this.failure !== undefined) return
    const job = this.#queue.shift()
    if (job !== undefined) this.#send(job.config, job.values, job.done)
    else for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }

  #report(): void {
    const report = this.#reportFailure
    this.#reportFailure = undefined
    report?.()
  }

  #fail(error: Error): void {
    if (this.failure === undefined) {
      this.failure = error
      this.#onLoss(this, error)
    }
    this.#busy = false
    this.#report()
    this.#onStatementEnd?.()
    for (const job of this.#queue.splice(0)) job.done(this.failure)
    for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }
}

export function lastResult<R extends object>(result: QueryResult | QueryResult[] | undefined): QueryResult<R> {
  const last = (Array.isArray(result) ? result.at(-1) : result) as QueryResult<R>
  last.rowCount ??= 0
  return last
}
