import type pg from 'pg'
import { backgroundInterval, settlesWithin } from '@platform/kernel'
import { AcquireTimeouts } from './acquire-timeout.ts'
import type { Backends } from './backends.ts'
import { Causality } from './causality.ts'
import type { DbPoolStats } from './connection.ts'
import { Connector } from './connector.ts'
import { Demand } from './demand.ts'
import { Departures } from './departures.ts'
import { DbPoolError, endsAllConnections, sqlState } from './errors.ts'
import type { Instruments } from './instrumentation.ts'
import { Opening } from './opening.ts'
import type { Credential, LoggerLike, ResolvedDbPoolOptions } from './options.ts'
import { type Trace, Traces } from './place.ts'
import { Quiet } from './quiet.ts'
import { clean, isClean } from './return.ts'
import type { Session } from './session.ts'
import { Upkeep } from './upkeep.ts'
import { WaiterQueue } from './waiters.ts'

/** A connection that idled for longer is asked whether it lives before somebody gets it. */
const trustIdleMs = 1_000
const checkTimeoutMs = 2_000
/** What `close` allows for goodbyes beyond its time. */
const farewellMs = 2_000
/** After a refused write the servers are looked at again, at most this often. */
const lookAgainMs = 1_000

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
  readonly causality: Causality = new Causality()
  readonly traces: Traces = new Traces()
  epoch = 0

  readonly #sessions = new Set<Session>()
  /** Last in, first out: what is used stays warm, the rest ages out. */
  readonly #idle: Session[] = []
  readonly #departures: Departures
  readonly #waiters: WaiterQueue
  readonly #connector: Connector
  readonly #opening: Opening<Session>
  readonly #upkeep: Upkeep
  readonly #timeouts: AcquireTimeouts
  readonly #demand = new Demand(() => this.#pump())
  readonly #quiet = new Quiet(() => this.stats().inUse === 0 && this.#waiters.size === 0)
  readonly #checkTimeoutMs: number
  /** Connections whose supply is already on its way to a waiter. */
  #checking = 0
  #returning = 0
  #lookedAgainAt = Number.NEGATIVE_INFINITY
  #upkeepTimer: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  readonly #hurry: PromiseWithResolvers<void> = Promise.withResolvers<void>()

  constructor(options: ResolvedDbPoolOptions, instruments: Instruments) {
    this.options = options
    this.instruments = instruments
    this.logger = options.logger
    this.#checkTimeoutMs = Math.min(checkTimeoutMs, Math.max(50, options.acquireTimeoutMs / 4))
    this.#departures = new Departures(
      (session) => this.#processEnds(session),
      () => this.#pump(),
    )
    this.#waiters = new WaiterQueue(
      options.acquireTimeoutMs,
      () => this.#timeouts.prepare(),
      (waiter) => waiter.reject(this.#timeouts.errorOf(waiter)),
      () => this.#quiet.look(),
    )
    this.#connector = new Connector(
      options,
      (url) => this.#onWriter(url),
      (session, error) => this.#lost(session, error),
    )
    this.#opening = new Opening<Session>(options.isReplica, {
      connect: (signal) => this.#connect(signal),
      opened: (session) => this.#opened(session),
      failed: (error) => {
        this.logger.warn({ err: error, sqlState: sqlState(error) }, 'could not connect to the database')
        this.#refuse()
      },
      again: () => this.#pump(),
      asksAgain: () => typeof this.#connector.credential === 'function',
    })
    this.#upkeep = new Upkeep(this, this.#sessions)
    this.#timeouts = new AcquireTimeouts(this, this.#sessions, () => this.#opening.lastError)
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
    if (!expected) this.#upkeep.tellLeftover(session)
    if (this.options.sessionReset === 'always') session.suspect('possible')
    // A reset is one round trip: whoever waits has its connection on the way. To end a statement may take longer.
    const soon = session.quiet ? 1 : 0
    this.#returning += soon
    const outcome = await clean(session, this.options)
    this.#returning -= soon
    if (outcome === 'standby') this.#lookForWriter(session)
    else if (outcome === 'clean') this.#handOver(session)
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
    this.#departures.add(session, cut || session.failure !== undefined ? session.kill(reason) : session.end())
    this.#quiet.look()
    this.#pump()
  }

  /** Everything opened before now is replaced: idle connections at once, the others on their return. */
  startEpoch(): void {
    this.epoch++
    for (const session of this.#idle.splice(0)) this.#discard(session)
  }

  /** From now on new connections prove themselves by this. */
  useCredential(credential: Credential): void {
    this.#connector.credential = credential
    this.#opening.restart()
    this.startEpoch()
  }

  /** A bare connection outside the pool: for `listen` and for questions about others. */
  connect(signal?: AbortSignal): Promise<pg.Client> {
    return this.#connector.client(signal)
  }

  /** A session that is not the pool's yet, to try a credential. */
  tryCredential(credential: Credential): Promise<Session> {
    return this.#connector.session(this.epoch + 1, undefined, credential)
  }

  /** Takes over a session opened elsewhere when there is room. */
  adopt(session: Session): void {
    if (this.#full() || this.#closing !== undefined) this.#departures.add(session, session.end())
    else this.#opened(session)
  }

  /** Who tells of our connections to one server. */
  backendsOf(url: string): Backends {
    return this.#connector.backendsOf(url)
  }

  drained(signal?: AbortSignal): Promise<void> {
    return this.#quiet.wait(signal)
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
    clearInterval(this.#upkeepTimer)
    this.#demand.stop()
    const opened = this.#opening.close(closedError())
    for (const session of this.#idle.splice(0)) this.#discard(session)
    if (!(await this.#quiet.before(this.#hurry.promise))) {
      this.logger.warn(this.stats(), 'connections still in use at the end of the time to close: cut')
    }
    await opened
    // What is left: those in use, and those that are just being asked whether they live.
    for (const session of this.#sessions) {
      this.#sessions.delete(session)
      session.cancelAll(closedError(), 500)
      const killed = session.settle(500).then(() => session.kill(closedError()))
      this.#departures.add(session, killed)
    }
    this.#quiet.look()
    // Goodbyes take their time where nobody answers.
    await settlesWithin(this.#departures.allGone(), farewellMs)
  }

  /** What was cut at work may go on beside its successor until its process has ended. */
  #processEnds(session: Session): Promise<void> | undefined {
    const asked = session.cutAtWork && this.options.pooler === 'none' && !this.#connector.hosts.isFormer(session.url)
    return asked ? this.backendsOf(session.url).end(session) : undefined
  }

  #full(): boolean {
    return this.#sessions.size + this.#opening.size + this.#departures.size >= this.options.maxSize
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
    this.#quiet.look()
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
      this.#startAnew()
    }
    this.#pump()
  }

  async #connect(signal: AbortSignal): Promise<Session> {
    const since = performance.now()
    const session = await this.#connector.session(this.epoch, signal)
    this.#demand.connected(performance.now() - since)
    this.instruments.createTime(performance.now() - since)
    return session
  }

  #opened(session: Session): void {
    this.#sessions.add(session)
    this.#upkeepTimer ??= backgroundInterval(() => this.#lookAfter(), this.#upkeep.intervalMs)
    if (session.failure !== undefined) this.destroy(session)
    else this.#handOver(session)
    this.#pump()
  }

  /** Callers that a live connection can serve wait for it; without one there is nothing to wait for. */
  #refuse(): void {
    const { refusal } = this.#opening
    if (refusal === undefined || this.#sessions.size > 0 || this.#opening.size > 0 || this.#waiters.size === 0) return
    this.#opening.refusal = undefined
    this.#waiters.rejectAll(() => new DbPoolError(refusal.code, refusal.message, { cause: refusal.cause }))
  }

  /** The server or the network ended a connection that we wanted to keep. */
  #lost(session: Session, error: Error): void {
    if (this.#closing === undefined) this.logger.warn({ err: error, sqlState: sqlState(error) }, 'a connection was lost')
    if (session.place.in === 'idle') this.destroy(session)
    if (endsAllConnections(error) && session.epoch === this.epoch) this.#startAnew()
  }

  /** After a loss that others share: the writer may be another server by now. */
  #startAnew(): void {
    this.#connector.hosts.lookAgain()
    this.startEpoch()
  }

  /** A server that refused a write turned out to be a standby. */
  #lookForWriter(session: Session): void {
    const now = performance.now()
    if (now - this.#lookedAgainAt < lookAgainMs) return this.#handOver(session)
    this.#lookedAgainAt = now
    this.logger.warn({}, 'the server is a standby: looking for the writer')
    this.destroy(session)
    this.#startAnew()
  }

  /** What runs elsewhere, on a server that is silent or was demoted, is given up. */
  #onWriter(url: string): void {
    const reason = new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'another server is the writer now: the connection is given up')
    for (const session of this.#sessions) {
      if (session.url === url) continue
      void session.kill(reason)
      if (session.place.in === 'idle') this.destroy(session)
    }
  }

  #lookAfter(): void {
    this.#upkeep.look()
    for (const session of this.#idle.filter((each) => this.#upkeep.isStale(each))) this.destroy(session)
    while (!this.#full() && this.#opening.mayOpen && this.#idle.length + this.#opening.size < this.options.minIdle) this.#opening.open()
    if (this.#sessions.size > 0 || this.options.minIdle > 0) return
    clearInterval(this.#upkeepTimer)
    this.#upkeepTimer = undefined
  }
}

function closedError(): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_CLOSED', 'the pool is closed')
}
