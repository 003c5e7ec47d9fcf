import type pg from 'pg'
import { backgroundInterval, settlesWithin } from '@platform/kernel'
import { acquireTimeout } from './acquire-timeout.ts'
import { Backends } from './backends.ts'
import { Acquaintance } from './acquaintance.ts'
import { connectClient } from './connect.ts'
import type { DbPoolStats } from './connection.ts'
import { Demand } from './demand.ts'
import { DbPoolError, endsAllConnections, sqlState } from './errors.ts'
import type { Instruments } from './instrumentation.ts'
import { Opening } from './opening.ts'
import type { Credential, LoggerLike, ResolvedDbPoolOptions } from './options.ts'
import { clean, isClean, leftoverOf, prepare } from './return.ts'
import { Session, type Trace } from './session.ts'
import { Upkeep } from './upkeep.ts'
import { type Waiter, WaiterQueue } from './waiters.ts'

/** A connection that idled for longer is asked whether it lives before somebody gets it. */
const trustIdleMs = 1_000
const checkTimeoutMs = 2_000
/** What `close` allows for goodbyes beyond its time. */
const farewellMs = 2_000

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
  readonly backends: Backends
  credential: Credential | undefined
  epoch = 0

  readonly #sessions = new Set<Session>()
  /** Last in, first out: what is used stays warm, the rest ages out. */
  readonly #idle: Session[] = []
  readonly #ending = new Set<Promise<void>>()
  readonly #waiters: WaiterQueue
  readonly #opening: Opening<Session>
  readonly #upkeep: Upkeep
  readonly #acquaintance: Acquaintance
  readonly #demand = new Demand()
  #patience: NodeJS.Timeout | undefined
  readonly #checkTimeoutMs: number
  #whenFree: (() => void)[] = []
  #checking = 0
  #returning = 0
  #refusal: DbPoolError | undefined
  #timer: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #hurry: PromiseWithResolvers<void> = Promise.withResolvers<void>()

  constructor(options: ResolvedDbPoolOptions, instruments: Instruments) {
    this.options = options
    this.instruments = instruments
    this.logger = options.logger
    this.credential = options.password
    this.#checkTimeoutMs = Math.min(checkTimeoutMs, Math.max(50, options.acquireTimeoutMs / 4))
    const aside = options.applicationName === undefined ? options : { ...options, applicationName: `${options.applicationName} aside` }
    this.backends = new Backends(() => connectClient(aside, this.credential), options.connectTimeoutMs)
    this.#waiters = new WaiterQueue(
      options.acquireTimeoutMs,
      (waiter) => this.#timedOut(waiter),
      () => this.#freed(),
    )
    this.#opening = new Opening<Session>(options.isReplica, {
      connect: (signal) => this.#connectSession(signal),
      opened: (session) => this.#opened(session),
      failed: (error, refusal) => this.#openFailed(error, refusal),
      again: () => this.#pump(),
      asksAgain: () => typeof this.credential === 'function',
    })
    this.#upkeep = new Upkeep(this, this.#sessions)
    this.#acquaintance = new Acquaintance(options)
  }

  get closed(): boolean {
    return this.#closing !== undefined
  }

  stats(): DbPoolStats {
    const idle = this.#idle.length + this.#checking
    return { open: this.#sessions.size, inUse: this.#sessions.size - idle, idle, waiting: this.#waiters.size }
  }

  /** A connection that needs no waiting, or undefined. */
  take(trace?: Trace): Session | undefined {
    if (this.#closing !== undefined) throw closedError()
    const session = this.#idle.at(-1)
    if (session === undefined || this.#waiters.size > 0 || session.place.in !== 'idle') return undefined
    const now = performance.now()
    if (now - session.place.since > trustIdleMs) return undefined
    this.#idle.pop()
    session.place = { in: 'use', since: now, trace }
    this.instruments.waitTime(0)
    return session
  }

  /** Waits for a connection. An aborted caller leaves the queue at once; a connection already on its way to it goes to the next. */
  async wait(signal?: AbortSignal, trace?: Trace): Promise<Session> {
    if (this.#closing !== undefined) throw closedError()
    if (signal?.aborted) throw signal.reason
    const since = performance.now()
    const waiting = this.#waiters.push(signal, trace)
    this.#pump()
    const session = await waiting
    if (signal?.aborted) {
      this.release(session)
      throw signal.reason
    }
    this.instruments.waitTime(performance.now() - since)
    return session
  }

  /** `trace`: where it is borrowed, for those who hold it for longer than a statement. */
  acquire(signal?: AbortSignal, trace?: Trace): Promise<Session> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    const session = this.take(trace)
    return session === undefined ? this.wait(signal, trace) : Promise.resolve(session)
  }

  /** The one way back. What the borrower left behind is undone first; what cannot be undone costs the connection. */
  release(session: Session): void {
    if (isClean(session) && this.options.sessionReset === 'when-needed') this.#handOver(session)
    else void this.restore(session)
  }

  /** `release` for those who want to know when the session is clean again. `expected`: what is left is the pool's own doing. */
  async restore(session: Session, { expected = false }: { expected?: boolean } = {}): Promise<void> {
    if (session.failure !== undefined) return this.destroy(session)
    if (!expected) this.#tellLeftover(session)
    if (this.options.sessionReset === 'always') session.suspect('possible')
    // A reset is one round trip: whoever waits has its connection on the way. To end a statement may take longer.
    const soon = session.quiet ? 1 : 0
    this.#returning += soon
    const cleaned = await clean(session, this.options)
    this.#returning -= soon
    if (cleaned) this.#handOver(session)
    else this.destroy(session, !session.quiet)
    this.#pump()
  }

  /** Takes a connection out for good; `cut` without a goodbye. */
  destroy(session: Session, cut = false): void {
    const index = this.#idle.indexOf(session)
    if (index >= 0) this.#idle.splice(index, 1)
    else if (session.place.in === 'use') this.instruments.useTime(performance.now() - session.place.since)
    this.#discard(session, cut)
  }

  #discard(session: Session, cut = false): void {
    if (!this.#sessions.delete(session)) return
    session.place = { in: 'gone' }
    const reason = new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was destroyed')
    this.#track(session, cut || session.failure !== undefined ? session.kill(reason) : session.end())
    this.#freed()
    this.#pump()
  }

  /** Everything opened before now is replaced: idle connections at once, the others on their return. */
  startEpoch(): void {
    this.epoch++
    for (const session of this.#idle.splice(0)) this.#discard(session)
  }

  /** From now on new connections prove themselves by this. */
  useCredential(credential: Credential): void {
    this.credential = credential
    this.#refusal = undefined
    this.#opening.restart()
    this.startEpoch()
  }

  /** A connection outside the pool: for `listen`, for questions about others and for trying a new credential. */
  connect(credential: Credential | undefined, signal?: AbortSignal): Promise<pg.Client> {
    return connectClient(this.options, credential, signal)
  }

  /** Throws behind a pooler: `what` needs a connection of its own for longer than a transaction. */
  needsSession(what: string): void {
    if (this.options.pooler === 'none') return
    throw new DbPoolError(
      'ERR_DB_POOL_POOLER',
      `${what} need a session of their own, which a pooler in transaction mode does not give: connect past it`,
    )
  }

  /** Takes over a connection opened elsewhere when there is room. */
  adopt(client: pg.Client): void {
    const session = this.#newSession(client, this.epoch)
    if (this.#full() || this.#closing !== undefined || this.options.onConnect !== undefined) this.#track(session, session.end())
    else this.#opened(session)
  }

  drained(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#whenFree = this.#whenFree.filter((each) => each !== look)
        signal?.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => {
        leave()
        reject(signal?.reason)
      }
      const look = (): void => {
        if (this.stats().inUse > 0 || this.#waiters.size > 0) return
        leave()
        resolve()
      }
      if (signal?.aborted) return reject(signal.reason)
      this.#whenFree.push(look)
      signal?.addEventListener('abort', onAbort, { once: true })
      look()
    })
  }

  /** A later, shorter call shortens the time. */
  close(timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => this.#hurry.resolve(), timeoutMs)
    this.#closing ??= this.#close()
    void this.#closing.finally(() => clearTimeout(timer))
    return this.#closing
  }

  async #close(): Promise<void> {
    // Let `closed` be true before anything below is seen.
    await Promise.resolve()
    this.#waiters.rejectAll(closedError)
    clearInterval(this.#timer)
    clearTimeout(this.#patience)
    const opened = this.#opening.close(closedError())
    for (const session of this.#idle.splice(0)) this.#discard(session)
    const drained = new AbortController()
    const done = this.drained(drained.signal).then(
      () => true,
      () => false,
    )
    if (!(await Promise.race([done, this.#hurry.promise.then(() => false)]))) {
      this.logger.warn(this.stats(), 'connections still in use at the end of the time to close: cut')
    }
    drained.abort()
    await opened
    // What is left: those in use, and those that are just being asked whether they live.
    for (const session of this.#sessions) {
      this.#sessions.delete(session)
      session.cancelAll(closedError(), 500)
      this.#track(
        session,
        session.settle(500).then(() => session.kill(closedError())),
      )
    }
    // Goodbyes take their time where nobody answers.
    await settlesWithin(this.#gone(), farewellMs)
  }

  async #gone(): Promise<void> {
    while (this.#ending.size > 0) await Promise.all(this.#ending)
  }

  /** The place of a connection is taken until its socket is closed, and when it was cut at work, until its server process has ended. */
  #track(session: Session, closed: Promise<void>): void {
    const ended =
      session.cutAtWork && this.options.pooler === 'none' ? Promise.all([closed, this.backends.end(session)]).then(() => {}) : closed
    this.#ending.add(ended)
    void ended.then(() => {
      this.#ending.delete(ended)
      this.#pump()
    })
  }

  #full(): boolean {
    return this.#sessions.size + this.#opening.size + this.#ending.size >= this.options.maxSize
  }

  /** Connections on their way to the queue. */
  #pump(): void {
    if (this.#closing !== undefined) return
    while (this.#unsupplied > 0) {
      const session = this.#idle.pop()
      if (session === undefined) break
      if (session.place.in === 'idle' && performance.now() - session.place.since <= trustIdleMs) this.#give(session)
      else void this.#check(session)
    }
    this.#open()
    this.#refuse()
  }

  get #unsupplied(): number {
    return this.#waiters.size - this.#checking - this.#returning - this.#opening.size
  }

  #open(): void {
    const wanted = this.#unsupplied
    if (wanted <= 0) return
    const toOpen = this.#demand.toOpen(wanted, this.stats().inUse, this.#waiters.oldestMs)
    for (let opened = 0; opened < toOpen && !this.#full() && this.#opening.mayOpen; opened++) this.#opening.open()
    if (toOpen >= wanted || this.#patience !== undefined) return
    this.#patience = setTimeout(() => {
      this.#patience = undefined
      this.#pump()
    }, this.#demand.patienceMs)
  }

  #give(session: Session): void {
    const since = performance.now()
    const waiter = this.#waiters.shift()
    if (waiter === undefined) {
      session.place = { in: 'idle', since }
      this.#idle.push(session)
    } else {
      session.place = { in: 'use', since, trace: waiter.trace }
      waiter.resolve(session)
    }
  }

  #handOver(session: Session): void {
    if (!this.#sessions.has(session)) return
    const now = performance.now()
    if (session.place.in === 'use') {
      this.#demand.used(now - session.place.since)
      this.instruments.useTime(now - session.place.since)
    }
    if (this.#closing !== undefined || session.epoch < this.epoch || session.expiresAt <= now) return this.#discard(session)
    this.#give(session)
    this.#freed()
  }

  #freed(): void {
    if (this.#whenFree.length > 0) for (const look of this.#whenFree.slice()) look()
  }

  async #check(session: Session): Promise<void> {
    this.#checking++
    session.place = { in: 'check' }
    const alive = session.query('select 1').then(
      () => true,
      () => false,
    )
    const answered = await settlesWithin(alive, this.#checkTimeoutMs)
    this.#checking--
    if (answered && (await alive) && session.failure === undefined) {
      this.#handOver(session)
    } else {
      // One that died in silence: the others that were silent as long are no better.
      this.destroy(session, true)
      this.startEpoch()
    }
    this.#pump()
  }

  async #connectSession(signal: AbortSignal): Promise<Session> {
    const { epoch } = this
    const since = performance.now()
    const session = await connectClient(this.options, this.credential, signal, (client) => this.#newSession(client, epoch))
    await this.#acquaintance.make(session)
    await this.#prepared(session)
    this.#demand.connected(performance.now() - since)
    this.instruments.createTime(performance.now() - since)
    return session
  }

  async #prepared(session: Session): Promise<Session> {
    try {
      await prepare(session, this.options)
      return session
    } catch (error) {
      await session.kill(new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection could not be prepared', { cause: error }))
      throw error
    }
  }

  #opened(session: Session): void {
    this.#refusal = undefined
    this.#sessions.add(session)
    this.#timer ??= backgroundInterval(() => this.#lookAfter(), this.#upkeep.intervalMs)
    if (session.failure !== undefined) this.destroy(session)
    else this.#handOver(session)
    this.#pump()
  }

  #openFailed(error: unknown, refusal: DbPoolError | undefined): void {
    this.logger.warn({ err: error, sqlState: sqlState(error) }, 'could not connect to the database')
    this.#refusal = refusal
    this.#refuse()
  }

  /** Callers that a live connection can serve wait for it; without one there is nothing to wait for. */
  #refuse(): void {
    const refusal = this.#refusal
    if (refusal === undefined || this.#sessions.size > 0 || this.#opening.size > 0 || this.#waiters.size === 0) return
    this.#refusal = undefined
    this.#waiters.rejectAll(() => new DbPoolError(refusal.code, refusal.message, { cause: refusal.cause }))
  }

  #newSession(client: pg.Client, epoch: number): Session {
    const openedAt = performance.now()
    const lifetimeMs = this.options.maxLifetimeMs * (0.8 + Math.random() * 0.4)
    return new Session(
      client,
      { epoch, openedAt, expiresAt: openedAt + lifetimeMs, preparedStatements: this.options.preparedStatements },
      (session, error) => this.#lost(session, error),
    )
  }

  /** The server or the network ended a connection that we wanted to keep. */
  #lost(session: Session, error: Error): void {
    if (this.#closing === undefined) this.logger.warn({ err: error, sqlState: sqlState(error) }, 'a connection was lost')
    if (session.place.in === 'idle') this.destroy(session)
    if (endsAllConnections(error) && session.epoch === this.epoch) this.startEpoch()
  }

  #lookAfter(): void {
    this.#upkeep.look()
    for (const session of this.#idle.filter((each) => this.#upkeep.isStale(each))) this.destroy(session)
    while (!this.#full() && this.#opening.mayOpen && this.#idle.length + this.#opening.size < this.options.minIdle) this.#opening.open()
    if (this.#sessions.size > 0 || this.options.minIdle > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tellLeftover(session: Session): void {
    const leftover = leftoverOf(session)
    if (leftover === undefined) return
    this.instruments.leftover(leftover)
    this.#upkeep.tellLeftover(session, leftover)
  }

  #timedOut(waiter: Waiter): void {
    this.instruments.timeout()
    const { acquireTimeoutMs, maxSize } = this.options
    const waitedMs = performance.now() - waiter.since
    const { lastError: connectError } = this.#opening
    waiter.reject(acquireTimeout({ waitedMs, acquireTimeoutMs, maxSize, stats: this.stats(), sessions: this.#sessions, connectError }))
  }
}

function closedError(): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_CLOSED', 'the pool is closed')
}
