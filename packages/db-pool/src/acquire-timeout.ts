import { type Blocker, DbPoolError, type Holder } from './errors.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'
import type { Waiter } from './waiters.ts'

/** The server is asked who holds up whom at most this often. */
const askMs = 1_000

/** The error of a caller who got no connection in time: who holds them, for how long, where they were borrowed, and what they wait for. */
export class AcquireTimeouts {
  readonly #pool: ConnectionPool
  readonly #sessions: ReadonlySet<Session>
  readonly #connectError: () => unknown
  #askedAt = Number.NEGATIVE_INFINITY
  #blockers: ReadonlyMap<number, readonly Blocker[]> = new Map()

  constructor(pool: ConnectionPool, sessions: ReadonlySet<Session>, connectError: () => unknown) {
    this.#pool = pool
    this.#sessions = sessions
    this.#connectError = connectError
  }

  /** A moment before the first: the answer is there by then, or the error does without. */
  prepare(): void {
    const now = performance.now()
    const holding = [...this.#sessions].filter(({ place, runningSince }) => place.in === 'use' && runningSince !== undefined)
    if (now - this.#askedAt < askMs || holding.length === 0 || this.#pool.options.pooler !== 'none') return
    this.#askedAt = now
    this.#blockers = new Map()
    // All of them are connected to one server, except in the moment of a failover.
    const { url } = holding[0] as Session
    this.#pool
      .backendsOf(url)
      .blockers(holding)
      .then(
        (blockers) => {
          this.#blockers = blockers
        },
        () => {},
      )
  }

  errorOf(waiter: Waiter): DbPoolError {
    this.#pool.instruments.timeout()
    const { acquireTimeoutMs, maxSize } = this.#pool.options
    const { open, inUse, waiting } = this.#pool.stats()
    const holders = this.#holders()
    const cause = this.#connectError()
    const connecting = cause === undefined ? '' : '; connecting fails, see cause'
    return new DbPoolError(
      'ERR_DB_POOL_ACQUIRE_TIMEOUT',
      `no connection within ${acquireTimeoutMs} ms: ${inUse} in use of ${open} open, at most ${maxSize}${describe(holders[0])}; ${waiting} more waiting${connecting}`,
      { cause, waitedMs: Math.round(performance.now() - waiter.since), inUse, waiting, holders },
    )
  }

  #holders(): readonly Holder[] {
    const now = performance.now()
    const holders: Holder[] = []
    for (const { place, operation, pid } of this.#sessions) {
      if (place.in !== 'use') continue
      const stack = place.trace?.stack
      const blockedBy = this.#blockers.get(pid)
      const heldMs = Math.round(now - place.since)
      holders.push({ heldMs, pid, operation, ...(stack === undefined ? {} : { stack }), ...(blockedBy === undefined ? {} : { blockedBy }) })
    }
    return holders.sort((a, b) => b.heldMs - a.heldMs)
  }
}

function describe(oldest: Holder | undefined): string {
  if (oldest === undefined) return ''
  const held = `, the oldest for ${oldest.heldMs} ms by process ${oldest.pid} (${oldest.operation || 'nothing run yet'})`
  const [blocker] = oldest.blockedBy ?? []
  if (blocker === undefined) return held
  const facts = [blocker.application, blocker.state].filter((fact) => fact !== '').join(', ')
  return `${held}, which waits for process ${blocker.pid}${facts === '' ? '' : ` (${facts})`}`
}
