import type pg from 'pg'
import type { DbPoolStats } from './connection.ts'
import { connectClient } from './connect.ts'
import { DbPoolError, endsAllConnections, type Holder, sqlState } from './errors.ts'
import type { Instruments } from './instrumentation.ts'
import type { Credential, LoggerLike, ResolvedDbPoolOptions } from './options.ts'
import { Session } from './session.ts'
import { resetSession } from './statement.ts'
import { jitteredBackoffMs, settlesWithin } from './timing.ts'
import { type Waiter, WaiterQueue } from './waiters.ts'

/** A connection that idled for longer is asked whether it lives before somebody gets it, and must answer within the other. */
const trustIdleMs = 1_000
const checkTimeoutMs = 2_000
/** Undoing what a borrower left behind may take this long. */
const cleanTimeoutMs = 5_000
const reconnect = { initialDelayMs: 50, maxDelayMs: 1_000 }

/**
 * The engine. Callers wait only on the queue; connections are opened beside it, as many as there are callers without a supply, and
 * whatever comes free first, an old connection or a new one, goes to the oldest caller.
 *
 * A connection belongs to an epoch. The loss of one for a reason that others share (restart, failover, dead network) and a rotation of
 * the credential start a new epoch: idle connections of the old one are closed at once, the others on their return.
 */
export class ConnectionPool {
  readonly options: ResolvedDbPoolOptions
  readonly instruments: Instruments
  readonly logger: LoggerLike
  credential: Credential | undefined
  epoch = 0

  readonly #sessions = new Set<Session>()
  /** Last in, first out: what is used stays warm, the rest ages out. */
  readonly #idle: Session[] = []
  readonly #opening = new Set<AbortController>()
  readonly #attempts = new Set<Promise<void>>()
  readonly #ending = new Set<Promise<void>>()
  readonly #waiters: WaiterQueue
  #whenFree: (() => void)[] = []
  #checking = 0
  #sweep: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  /** Slow start: after a failed attempt one connection at a time, then 2, 4, 8. */
  #openLimit = Number.POSITIVE_INFINITY
  #failedAttempts = 0
  #connectError: unknown
  #closing: Promise<void> | undefined

  constructor(options: ResolvedDbPoolOptions, instruments: Instruments) {
    this.options = options
    this.instruments = instruments
    this.logger = options.logger
    this.credential = options.password
    this.#waiters = new WaiterQueue(
      options.acquireTimeoutMs,
      (waiter) => this.#timedOut(waiter),
      () => this.#freed(),
    )
  }

  get closed(): boolean {
    return this.#closing !== undefined
  }

  stats(): DbPoolStats {
    const idle = this.#idle.length + this.#checking
    return { open: this.#sessions.size, inUse: this.#sessions.size - idle, idle, waiting: this.#waiters.size }
  }

  /** A connection that needs no waiting, or undefined. */
  take(): Session | undefined {
    if (this.#closing !== undefined) throw closedError()
    const session = this.#idle.at(-1)
    if (session === undefined || this.#waiters.size > 0) return undefined
    const now = performance.now()
    if (now - session.idleSince > trustIdleMs) return undefined
    this.#idle.pop()
    session.takenAt = now
    this.instruments.waitTime(0)
    return session
  }

  /** Waits for a connection. An aborted caller leaves the queue at once; a connection already on its way to it goes to the next. */
  async wait(signal?: AbortSignal): Promise<Session> {
    if (this.#closing !== undefined) throw closedError()
    if (signal?.aborted) throw signal.reason
    const since = performance.now()
    const waiting = this.#waiters.push(signal)
    this.#pump()
    const session = await waiting
    if (signal?.aborted) {
      this.release(session)
      throw signal.reason
    }
    this.instruments.waitTime(performance.now() - since)
    return session
  }

  acquire(signal?: AbortSignal): Promise<Session> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    const session = this.take()
    return session === undefined ? this.wait(signal) : Promise.resolve(session)
  }

  /** The one way back. What the borrower left behind is undone first; what cannot be undone costs the connection. */
  release(session: Session): void {
    if (session.failure === undefined && session.quiet && session.status === 'I' && session.residue === 'none') this.#handOver(session)
    else void this.restore(session)
  }

  /** `release` for those who want to know when the session is clean again. */
  async restore(session: Session, { expected = false }: { expected?: boolean } = {}): Promise<void> {
    if (session.failure === undefined && !(await session.settle(this.options.cancelTimeoutMs))) {
      this.logger.warn(
        { waitedMs: this.options.cancelTimeoutMs },
        'a statement did not end in time after its borrower had left: the connection is destroyed',
      )
      return this.destroy(session, true)
    }
    if (session.failure !== undefined) return this.destroy(session)
    if (session.status !== 'I') {
      if (!expected) this.logger.warn({ operation: session.operation }, 'a connection came back inside a transaction: rolled back')
      if (!(await this.#clean(session, 'rollback'))) return this.destroy(session, true)
    }
    if (session.residue === 'discard') return this.destroy(session)
    if (session.residue === 'reset') {
      if (!(await this.#clean(session, resetSession))) return this.destroy(session, true)
      session.residue = 'none'
    }
    this.#handOver(session)
  }

  /** Takes a connection out for good. */
  destroy(session: Session, cut = false): void {
    const index = this.#idle.indexOf(session)
    if (index >= 0) this.#idle.splice(index, 1)
    else if (this.#sessions.has(session)) this.instruments.useTime(performance.now() - session.takenAt)
    this.#discard(session, cut)
  }

  #discard(session: Session, cut = false): void {
    if (!this.#sessions.delete(session)) return
    session.hooks?.drop()
    const reason = new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was destroyed')
    this.#track(cut || session.failure !== undefined ? session.kill(reason) : session.end())
    this.#freed()
    this.#pump()
  }

  /** Everything opened before now is replaced: idle connections at once, the others on their return. */
  startEpoch(): void {
    this.epoch++
    for (const session of this.#idle.splice(0)) this.#discard(session)
  }

  /** A connection outside the pool: for `listen` and for trying a new credential. The caller ends the client, or hands it to `adopt`. */
  connect(credential: Credential | undefined, signal?: AbortSignal): Promise<pg.Client> {
    return connectClient(this.options, credential, signal)
  }

  /** Takes over a connection opened elsewhere when there is room. */
  adopt(client: pg.Client): void {
    const session = this.#newSession(client)
    if (this.#full() || this.#closing !== undefined) this.#track(session.end())
    else this.#opened(session)
  }

  async drained(signal?: AbortSignal): Promise<void> {
    while (this.stats().inUse > 0 || this.#waiters.size > 0) {
      signal?.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        this.#whenFree.push(resolve)
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    }
  }

  close(timeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(timeoutMs)
    return this.#closing
  }

  async #close(timeoutMs: number): Promise<void> {
    // Let `closed` be true before anything below is seen.
    await Promise.resolve()
    this.#waiters.rejectAll(closedError)
    clearInterval(this.#sweep)
    clearTimeout(this.#retry)
    for (const attempt of this.#opening) attempt.abort(closedError())
    for (const session of this.#idle.splice(0)) this.#discard(session)
    if (!(await settlesWithin(this.drained(), timeoutMs))) {
      this.logger.warn(this.stats(), 'connections still in use at the end of the time to close: cut')
    }
    await Promise.all(this.#attempts)
    // What is left: those in use, and those that are just being asked whether they live.
    for (const session of this.#sessions) {
      this.#sessions.delete(session)
      this.#track(session.kill(closedError()))
    }
    while (this.#ending.size > 0) await Promise.all(this.#ending)
  }

  #track(ended: Promise<void>): void {
    this.#ending.add(ended)
    void ended.then(() => {
      this.#ending.delete(ended)
      this.#pump()
    })
  }

  #full(): boolean {
    return this.#sessions.size + this.#opening.size + this.#ending.size >= this.options.maxSize
  }

  /** Connections on their way to the queue: as many as there are callers. */
  #pump(): void {
    if (this.#closing !== undefined) return
    while (this.#waiters.size > this.#checking + this.#opening.size) {
      const session = this.#idle.pop()
      if (session !== undefined) {
        if (performance.now() - session.idleSince <= trustIdleMs) this.#give(session)
        else void this.#check(session)
      } else if (!this.#full() && this.#retry === undefined && this.#opening.size < this.#openLimit) {
        const attempt = this.#open()
        this.#attempts.add(attempt)
        void attempt.then(() => this.#attempts.delete(attempt))
      } else {
        return
      }
    }
  }

  #give(session: Session): void {
    const waiter = this.#waiters.shift()
    if (waiter === undefined) {
      session.idleSince = performance.now()
      this.#idle.push(session)
    } else {
      session.takenAt = performance.now()
      waiter.resolve(session)
    }
  }

  #handOver(session: Session): void {
    if (!this.#sessions.has(session)) return
    const now = performance.now()
    this.instruments.useTime(now - session.takenAt)
    if (this.#closing !== undefined || session.epoch < this.epoch || session.expiresAt <= now) return this.#discard(session)
    this.#give(session)
    this.#freed()
  }

  #freed(): void {
    if (this.#whenFree.length > 0) for (const resolve of this.#whenFree.splice(0)) resolve()
  }

  async #check(session: Session): Promise<void> {
    this.#checking++
    const alive = session.query('select 1').then(
      () => true,
      () => false,
    )
    const answered = await settlesWithin(alive, checkTimeoutMs)
    this.#checking--
    session.takenAt = performance.now()
    if (answered && (await alive) && session.failure === undefined) {
      this.#handOver(session)
    } else {
      // One that died in silence: the others that were silent as long are no better.
      this.destroy(session, true)
      this.startEpoch()
    }
    this.#pump()
  }

  async #clean(session: Session, text: string): Promise<boolean> {
    const cleaned = session.query(text).then(
      () => true,
      () => false,
    )
    return (await settlesWithin(cleaned, cleanTimeoutMs)) && (await cleaned)
  }

  async #open(): Promise<void> {
    const attempt = new AbortController()
    this.#opening.add(attempt)
    const { epoch } = this
    const since = performance.now()
    try {
      const session = await connectClient(this.options, this.credential, attempt.signal, (client) => this.#newSession(client, epoch))
      this.#opening.delete(attempt)
      this.instruments.createTime(performance.now() - since)
      this.#failedAttempts = 0
      this.#connectError = undefined
      if (Number.isFinite(this.#openLimit)) this.#openLimit = this.#openLimit >= 8 ? Number.POSITIVE_INFINITY : this.#openLimit * 2
      this.#opened(session)
    } catch (error) {
      this.#opening.delete(attempt)
      if (this.#closing === undefined) this.#openFailed(error)
    }
  }

  #opened(session: Session): void {
    this.#sessions.add(session)
    this.#sweep ??= setInterval(() => this.#retire(), Math.min(30_000, Math.max(20, this.options.idleTimeoutMs / 4))).unref()
    if (session.failure !== undefined) this.destroy(session)
    else this.#handOver(session)
    this.#pump()
  }

  #openFailed(error: unknown): void {
    this.#connectError = error
    this.#openLimit = 1
    this.#failedAttempts++
    const code = sqlState(error)
    const refused = code !== undefined && (code.startsWith('28') || code.startsWith('3D'))
    // A function may have given a password that was just replaced: it is asked once more.
    const final = refused && this.#failedAttempts >= (typeof this.credential === 'function' ? 2 : 1)
    if (final || this.options.isReplica) {
      this.#waiters.rejectAll(
        () =>
          new DbPoolError('ERR_DB_POOL_CONNECT', refused ? 'the server refuses the connection' : 'the replica cannot be reached', {
            cause: error,
          }),
      )
    }
    this.logger.warn({ err: error, attempt: this.#failedAttempts }, 'could not connect to the database')
    if (this.#retry !== undefined) return
    const delayMs = jitteredBackoffMs(this.#failedAttempts, reconnect.initialDelayMs, reconnect.maxDelayMs)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#pump()
    }, delayMs)
  }

  #newSession(client: pg.Client, epoch = this.epoch): Session {
    const now = performance.now()
    const lifetimeMs = this.options.maxLifetimeMs * (0.8 + Math.random() * 0.4)
    return new Session(client, { epoch, expiresAt: now + lifetimeMs, takenAt: now }, (session, error) => this.#lost(session, error))
  }

  /** The server or the network ended a connection that we wanted to keep. */
  #lost(session: Session, error: Error): void {
    if (this.#closing === undefined) this.logger.warn({ err: error, sqlState: sqlState(error) }, 'a connection was lost')
    if (this.#idle.includes(session)) this.destroy(session)
    if (endsAllConnections(error) && session.epoch === this.epoch) this.startEpoch()
  }

  #retire(): void {
    const now = performance.now()
    const stale = this.#idle.filter(
      ({ idleSince, expiresAt, epoch }) => idleSince + this.options.idleTimeoutMs <= now || expiresAt <= now || epoch < this.epoch,
    )
    for (const session of stale) this.destroy(session)
    if (this.#sessions.size === 0) {
      clearInterval(this.#sweep)
      this.#sweep = undefined
    }
  }

  #timedOut(waiter: Waiter): void {
    this.instruments.timeout()
    const now = performance.now()
    const { open, inUse, waiting } = this.stats()
    const idle = new Set(this.#idle)
    const holders: Holder[] = [...this.#sessions]
      .filter((session) => !idle.has(session))
      .map((session) => ({ heldMs: Math.round(now - session.takenAt), operation: session.operation }))
      .sort((a, b) => b.heldMs - a.heldMs)
    const oldest = holders[0] === undefined ? '' : `, the oldest for ${holders[0].heldMs} ms (${holders[0].operation || 'nothing run yet'})`
    const connecting = this.#connectError === undefined ? '' : '; connecting fails, see cause'
    waiter.reject(
      new DbPoolError(
        'ERR_DB_POOL_ACQUIRE_TIMEOUT',
        `no connection within ${this.options.acquireTimeoutMs} ms: ${inUse} in use of ${open} open, at most ${this.options.maxSize}${oldest}; ${waiting} more waiting${connecting}`,
        { cause: this.#connectError, waitedMs: Math.round(now - waiter.since), inUse, waiting, holders },
      ),
    )
  }
}

function closedError(): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_CLOSED', 'the pool is closed')
}
