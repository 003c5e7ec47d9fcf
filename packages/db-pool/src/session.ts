import type pg from 'pg'
import { settlesWithin } from '@platform/kernel'
import { Cancellation } from './cancellation.ts'
import { CommitHooks } from './commit-hooks.ts'
import type { QueryResult } from './connection.ts'
import { DbPoolError, endsConnection, refusesWrites } from './errors.ts'
import { type Ahead, sendInOnePacket, type Submits } from './one-packet.ts'
import type { Place } from './place.ts'
import { PreparedStatements } from './prepared.ts'
import { type Residue, type Statement, statementOf } from './sql/statement.ts'

/** What `pg` takes: a text, its config object, or something that submits itself (a cursor). */
export type QueryConfig = string | ({ text?: string; name?: string; submit?: unknown } & object)
export type Done = (error: unknown, result?: QueryResult | QueryResult[]) => void
export type TransactionStatus = 'I' | 'T' | 'E'

interface Job {
  readonly config: QueryConfig
  readonly values: readonly unknown[] | undefined
  readonly done: Done
  readonly ahead?: Ahead | undefined
  /** Sent once more, after its named statement had gone stale. */
  readonly again?: true
}

interface Running {
  readonly is: 'running'
  readonly job: Job
  readonly since: number
  readonly statement: Statement | undefined
  readonly statusBefore: TransactionStatus
  /** Its error; ReadyForQuery, and with it the transaction status, is still to come. */
  error?: unknown
  /** Why the pool ends it, for whoever still waits. */
  interruption?: unknown
}

/** `cancelling`: the server is ready, but a CancelRequest on its way could hit what is sent next. */
type State = { readonly is: 'ready' } | Running | { readonly is: 'cancelling' } | { readonly is: 'lost'; readonly reason: Error }

const ready: State = { is: 'ready' }
const cancelling: State = { is: 'cancelling' }

interface SessionFacts {
  /** Of the server it is connected to. */
  readonly url: string
  readonly epoch: number
  readonly openedAt: number
  readonly expiresAt: number
  readonly preparedStatements: number
}

const residues: readonly Residue[] = ['none', 'possible', 'certain', 'lasting']

/**
 * One server connection. It sends one statement at a time and knows when the server is ready for the next one, which is later than
 * the moment an error arrives. It always has an error listener, so a dying server never crashes the process.
 */
export class Session {
  readonly client: pg.Client
  readonly url: string
  readonly epoch: number
  readonly openedAt: number
  readonly expiresAt: number
  place: Place
  /** Number of the server process; behind a pooler not the one that the connection was told. */
  pid: number
  /** See commit-outcome.ts; undefined where the server does not say. */
  serverLife: string | undefined
  operation = ''
  /** How far the server behind it had come when it was asked; see causality.ts. */
  seen: bigint | undefined
  residue: Residue = 'none'
  /** The server took no write: when it is reset it is asked for its role. */
  writeRefused = false

  /** The client by the calls that its types leave out. */
  readonly #pg: Submits
  readonly #onLoss: (session: Session, error: Error) => void
  readonly #prepared: PreparedStatements
  readonly #queue: Job[] = []
  readonly #whenQuiet: (() => void)[] = []
  readonly #ended: Promise<void>
  #state: State = ready
  readonly #cancellation: Cancellation
  #hooks: CommitHooks | undefined
  #cutAtWork = false
  #committing = false

  constructor(client: pg.Client, facts: SessionFacts, onLoss: (session: Session, error: Error) => void) {
    this.client = client
    this.#pg = client as unknown as Submits
    this.url = facts.url
    this.#cancellation = new Cancellation(client, () => this.#state.is === 'running')
    this.#prepared = new PreparedStatements(client, facts.preparedStatements)
    this.pid = (client as unknown as { processID: number | null }).processID ?? 0
    this.epoch = facts.epoch
    this.openedAt = facts.openedAt
    this.expiresAt = facts.expiresAt
    this.place = { in: 'use', since: facts.openedAt, trace: undefined }
    this.#onLoss = onLoss
    this.#ended = new Promise((resolve) => {
      client.once('end', () => {
        this.#lose(new Error('the server closed the connection'))
        resolve()
      })
    })
    client.on('error', (error: Error) => this.#lose(error))
    client.on('drain', () => {
      if (this.#state.is === 'running') this.#finish(this.#state)
    })
    // The server reports some settings when they change, whoever changed them (a function, a DO block).
    client.connection.on('parameterStatus', () => this.suspect('possible'))
  }

  get status(): TransactionStatus {
    return this.client.getTransactionStatus() ?? 'I'
  }

  get quiet(): boolean {
    return this.#state.is === 'ready' && this.#queue.length === 0
  }

  /** Why the connection is unusable; undefined while it is well. */
  get failure(): Error | undefined {
    return this.#state.is === 'lost' ? this.#state.reason : undefined
  }

  /** Since when the server owes an answer. */
  get runningSince(): number | undefined {
    return this.#state.is === 'running' ? this.#state.since : undefined
  }

  /** A statement may go on at the server although its connection is gone. */
  get cutAtWork(): boolean {
    return this.#cutAtWork
  }

  /** It was lost while COMMIT ran, which is not to be stopped. */
  get committing(): boolean {
    return this.#committing
  }

  get hooks(): CommitHooks {
    this.#hooks ??= new CommitHooks()
    return this.#hooks
  }

  get hasHooks(): boolean {
    return this.#hooks !== undefined
  }

  /** The session may now hold something of its borrower. */
  suspect(residue: Residue): void {
    if (residues.indexOf(residue) > residues.indexOf(this.residue)) this.residue = residue
  }

  /** `done` is called once, when the server is ready for the next statement or the connection is lost. */
  run(config: QueryConfig, values: readonly unknown[] | undefined, done: Done, ahead?: Ahead): void {
    const job: Job = { config, values, done, ahead }
    if (this.#state.is === 'ready') {
      this.#send(job)
    } else if (this.#state.is === 'lost') {
      const { reason } = this.#state
      process.nextTick(() => done(reason))
    } else {
      this.#queue.push(job)
    }
  }

  /** One statement, as a promise, with the pool's errors. */
  query<R extends object>(text: string, values?: readonly unknown[], ahead?: Ahead): Promise<QueryResult<R>> {
    return new Promise((resolve, reject) => {
      this.run(
        text,
        values,
        (error, result) => {
          if (error === undefined) resolve(lastResult<R>(result))
          else reject(this.explain(error))
        },
        ahead,
      )
    })
  }

  /** A bare loss of the socket becomes an error with a code; what the server said stays as it is. */
  explain(error: unknown): unknown {
    const { failure } = this
    if (failure === undefined || !(error instanceof Error) || 'severity' in error || DbPoolError.isInstance(error)) return error
    if (DbPoolError.isInstance(failure)) return failure
    return new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'the connection was lost while a statement ran', { cause: error })
  }

  /** Ends one statement: takes it out of the queue, or out of the server. */
  cancel(done: Done, reason: unknown, timeoutMs: number): void {
    const index = this.#queue.findIndex((job) => job.done === done)
    if (index >= 0) for (const job of this.#queue.splice(index, 1)) job.done(reason)
    else if (this.#state.is === 'running' && this.#state.job.done === done) this.#cancelRunning(timeoutMs)
  }

  /** Ends all of them; whoever waits for one gets the reason. */
  cancelAll(reason: unknown, timeoutMs: number): void {
    for (const job of this.#queue.splice(0)) job.done(reason)
    if (this.#state.is === 'running') this.#state.interruption = reason
    this.#cancelRunning(timeoutMs)
  }

  /** A statement that takes too long, where the server has not been told its limit. */
  cancelOverdue(timeoutMs: number): void {
    this.#cancelRunning(timeoutMs)
  }

  #cancelRunning(timeoutMs: number): void {
    if (this.#state.is !== 'running' || this.#cancellation.open) return
    void this.#cancellation.run(timeoutMs, (arrived) => {
      if (!arrived) {
        this.#lose(new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'a cancel request may still be on its way: the connection is given up'))
        this.#cut()
      } else if (this.#state.is === 'cancelling') {
        this.#state = ready
        this.#pump()
      }
    })
  }

  /** True when the server is ready for the next statement and no CancelRequest is on its way; false when that took longer than allowed. */
  async settle(timeoutMs: number): Promise<boolean> {
    if (this.quiet || this.#state.is === 'lost') return true
    return settlesWithin(new Promise<void>((resolve) => this.#whenQuiet.push(resolve)), timeoutMs)
  }

  /** Says goodbye to the server; resolves when the socket is closed. */
  async end(): Promise<void> {
    this.#give(new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was closed by the pool'))
    this.client.end().catch(() => {})
    if (await settlesWithin(this.#ended, 1_000)) return
    this.#cut()
    await settlesWithin(this.#ended, 1_000)
  }

  /** Ends it without a goodbye: running statements fail with `reason`. */
  async kill(reason: Error): Promise<void> {
    this.#give(reason)
    this.#cut()
    await settlesWithin(this.#ended, 1_000)
  }

  #cut(): void {
    this.client.connection.stream.destroy()
    this.client.end().catch(() => {})
  }

  #send(job: Job): void {
    const { config, values, ahead } = job
    const text = typeof config === 'string' ? config : config?.text
    const statement = typeof text === 'string' ? statementOf(text) : undefined
    const running: Running = { is: 'running', job, since: performance.now(), statement, statusBefore: this.status }
    this.#state = running
    if (statement !== undefined) this.operation = statement.operation
    // Without a text nobody knows what it does.
    const residue = statement?.residue ?? 'possible'
    if (residue !== 'none') this.suspect(residue)
    const answered = (error: Error | null | undefined, result?: QueryResult): void => {
      if (this.#state !== running) return
      if (error) {
        running.error = error
        if (endsConnection(error)) this.suspect('lasting')
        if (refusesWrites(error)) {
          this.writeRefused = true
          this.suspect('possible')
        }
      } else {
        // `pg` calls back after ReadyForQuery, so the next statement may go out right here. After an error of its own (a value that
        // cannot be sent) it calls a second time, without an error.
        this.#finish(running, result)
      }
    }
    try {
      if (statement?.sendable === false) throw new DbPoolError('ERR_DB_POOL_OPTION', 'text must not contain NUL', { option: 'text' })
      if (typeof config === 'object' && typeof config?.submit === 'function') this.#pg.query(config)
      else if (ahead !== undefined && typeof config === 'string') sendInOnePacket(this.#pg, ahead, config, answered)
      else this.#pg.query(this.#named(config, values), values, answered)
    } catch (error) {
      running.error = error
      this.#finish(running)
    }
  }

  /** The server is ready for the next statement. */
  #finish(running: Running, result?: QueryResult | QueryResult[]): void {
    this.#state = this.#cancellation.open ? cancelling : ready
    const { error, job, statement, interruption } = running
    if (this.#mayRepeat(running)) return this.#repeat(job)
    this.#hooks?.observe(statement?.controls ?? [], error === undefined ? result : undefined, running.statusBefore, this.status)
    if (error === undefined) job.done(undefined, result)
    else job.done(interruption ?? error)
    this.#cancellation.statementEnded()
    this.#pump()
  }

  /** A text with values that comes often runs as a named statement. */
  #named(config: QueryConfig, values: readonly unknown[] | undefined): QueryConfig {
    if (typeof config !== 'string' || values === undefined) return config
    const name = this.#prepared.nameOf(config)
    return name === undefined ? config : { text: config, name }
  }

  /** A stale named statement has done nothing. Inside a transaction the transaction has failed with it. */
  #mayRepeat({ error, job, statusBefore, interruption }: Running): boolean {
    if (error === undefined || typeof job.config !== 'string' || !this.#prepared.isStale(error)) return false
    this.#prepared.forget(job.config)
    return statusBefore === 'I' && job.again === undefined && interruption === undefined && this.#state.is === 'ready'
  }

  #repeat(job: Job): void {
    this.#send({ ...job, again: true })
  }

  /** Nothing runs and no CancelRequest can hit what is sent now. */
  #pump(): void {
    if (this.#state.is !== 'ready') return
    const job = this.#queue.shift()
    if (job !== undefined) this.#send(job)
    else for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }

  /** The server or the network took it away. */
  #lose(error: Error): void {
    if (this.#state.is === 'lost') return
    const state = this.#state
    this.#state = { is: 'lost', reason: error }
    this.#onLoss(this, error)
    this.#settleAll(state, error)
  }

  /** We give it away. */
  #give(reason: Error): void {
    if (this.#state.is === 'lost') return
    const state = this.#state
    this.#state = { is: 'lost', reason }
    this.#settleAll(state, reason)
  }

  #settleAll(state: State, error: Error): void {
    this.#hooks?.drop()
    // What the server itself ended is not at work any more.
    this.#cutAtWork = state.is === 'running' && !('severity' in error)
    this.#committing = state.is === 'running' && state.statement?.controls.at(-1)?.verb === 'commit'
    if (state.is === 'running') state.job.done(state.interruption ?? state.error ?? error)
    this.#cancellation.statementEnded()
    for (const job of this.#queue.splice(0)) job.done(error)
    for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }
}

export function lastResult<R extends object>(result: QueryResult | QueryResult[] | undefined): QueryResult<R> {
  const last = (Array.isArray(result) ? result.at(-1) : result) as QueryResult<R>
  last.rowCount ??= 0
  return last
}
