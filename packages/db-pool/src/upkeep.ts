import type { Verdict } from './backends.ts'
import { DbPoolError } from './errors.ts'
import type { ConnectionPool } from './pool.ts'
import { type Leftover, leftoverOf } from './return.ts'
import type { Session } from './session.ts'

/** A statement without a limit of its own is asked after when it has run for so long. */
const unlimitedMs = 60_000
/** The server may decline to say this often. */
const mayNotSay = 3
const toldLimit = 1_000

/** What is looked at from time to time: connections that age, statements that should have been answered, borrowers that keep what they borrowed. */
export class Upkeep {
  readonly intervalMs: number
  readonly #pool: ConnectionPool
  readonly #sessions: ReadonlySet<Session>
  readonly #overdueMs: number
  readonly #undecided = new WeakMap<Session, number>()
  readonly #told = new Set<string>()
  /** When the question about an overdue statement was last answered: it is asked again after as long a time. */
  readonly #cleared = new WeakMap<Session, number>()
  #examining = false

  constructor(pool: ConnectionPool, sessions: ReadonlySet<Session>) {
    const { statementTimeoutMs, cancelTimeoutMs, idleTimeoutMs, leakDetectionThresholdMs } = pool.options
    this.#pool = pool
    this.#sessions = sessions
    this.#overdueMs = (statementTimeoutMs || unlimitedMs) + cancelTimeoutMs
    const shortest = Math.min(this.#overdueMs, idleTimeoutMs, leakDetectionThresholdMs || idleTimeoutMs)
    this.intervalMs = Math.min(1_000, Math.max(20, shortest / 4))
  }

  look(): void {
    const now = performance.now()
    const { pooler, statementTimeoutMs, cancelTimeoutMs } = this.#pool.options
    const overdue: Session[] = []
    for (const session of this.#sessions) {
      const since = Math.max(session.runningSince ?? Number.POSITIVE_INFINITY, this.#cleared.get(session) ?? 0)
      if (now - since > this.#overdueMs) overdue.push(session)
      else if (pooler !== 'none' && statementTimeoutMs > 0 && now - since > statementTimeoutMs) session.cancelOverdue(cancelTimeoutMs)
      this.#tellHolder(session, now)
    }
    if (overdue.length > 0 && !this.#examining) void this.#examine(overdue)
  }

  isStale({ place, expiresAt, epoch }: Session): boolean {
    const now = performance.now()
    if (expiresAt <= now || epoch < this.#pool.epoch) return true
    return (
      place.in === 'idle' && place.since + this.#pool.options.idleTimeoutMs <= now && this.#pool.stats().idle > this.#pool.options.minIdle
    )
  }

  /** What came back with a session is counted, and told once for each place where it was borrowed. */
  tellLeftover(session: Session): void {
    const leftover = leftoverOf(session)
    if (leftover === undefined) return
    this.#pool.instruments.leftover(leftover)
    this.#pool.traces.suspect()
    const { place, operation } = session
    const borrowedAt = place.in === 'use' ? place.trace?.stack : undefined
    const fact = `${leftover} ${borrowedAt?.split('\n')[1] ?? operation}`
    if (this.#told.has(fact) || this.#told.size >= toldLimit) return
    this.#told.add(fact)
    this.#pool.logger.warn({ leftover, operation, borrowedAt }, leftovers[leftover])
  }

  #tellHolder({ place, operation }: Session, now: number): void {
    const { leakDetectionThresholdMs } = this.#pool.options
    if (place.in !== 'use' || place.trace === undefined || place.told || leakDetectionThresholdMs === 0) return
    const heldMs = Math.round(now - place.since)
    if (heldMs < leakDetectionThresholdMs) return
    place.told = true
    this.#pool.traces.suspect()
    this.#pool.logger.warn({ heldMs, operation, borrowedAt: place.trace.stack }, 'a connection has been held for long: is it given back?')
  }

  /** The server ends a statement that takes too long. One without an answer after that is still at work by its own wish, or lost. */
  async #examine(overdue: readonly Session[]): Promise<void> {
    this.#examining = true
    const since = new Map(overdue.map((session) => [session, session.runningSince]))
    // Behind a pooler the server cannot be asked after a connection, which has been cancelled by then.
    const verdicts =
      this.#pool.options.pooler === 'none'
        ? await this.#askServers(overdue)
        : overdue.map((session) => [session, this.#pool.options.statementTimeoutMs > 0 ? 'lost' : 'working'] as const)
    this.#examining = false
    for (const [session, verdict] of verdicts) {
      if (session.runningSince !== since.get(session)) continue
      const undecided = verdict === 'unknown' ? (this.#undecided.get(session) ?? 0) + 1 : 0
      this.#undecided.set(session, undecided)
      if (verdict === 'lost' || undecided >= mayNotSay) {
        void session.kill(new DbPoolError('ERR_DB_POOL_CONNECTION_LOST', 'the answer to a statement does not come: the connection is lost'))
      } else {
        this.#cleared.set(session, performance.now())
      }
    }
  }

  async #askServers(overdue: readonly Session[]): Promise<readonly (readonly [Session, Verdict])[]> {
    const urls = [...new Set(overdue.map(({ url }) => url))]
    const answers = urls.map((url) => this.#pool.backendsOf(url).examine(overdue.filter((session) => session.url === url)))
    return (await Promise.all(answers)).flatMap((verdicts) => [...verdicts])
  }
}

const leftovers: Record<Leftover, string> = {
  statement: 'a connection came back while a statement ran: cancelled',
  transaction: 'a connection came back inside a transaction: rolled back',
  session: 'a connection came back with a changed session: reset',
}
