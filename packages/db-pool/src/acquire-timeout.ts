import { DbPoolError, type Holder } from './errors.ts'
import type { Session } from './session.ts'
import type { DbPoolStats } from './connection.ts'

interface Facts {
  readonly waitedMs: number
  readonly acquireTimeoutMs: number
  readonly maxSize: number
  readonly stats: DbPoolStats
  readonly sessions: Iterable<Session>
  readonly connectError: unknown
}

/** The error of a caller who got no connection in time: who holds them, for how long, and where they were borrowed. */
export function acquireTimeout({ waitedMs, acquireTimeoutMs, maxSize, stats, sessions, connectError }: Facts): DbPoolError {
  const holders = holdersOf(sessions)
  const [oldest] = holders
  const longest =
    oldest === undefined ? '' : `, the oldest for ${oldest.heldMs} ms by process ${oldest.pid} (${oldest.operation || 'nothing run yet'})`
  const connecting = connectError === undefined ? '' : '; connecting fails, see cause'
  const { open, inUse, waiting } = stats
  return new DbPoolError(
    'ERR_DB_POOL_ACQUIRE_TIMEOUT',
    `no connection within ${acquireTimeoutMs} ms: ${inUse} in use of ${open} open, at most ${maxSize}${longest}; ${waiting} more waiting${connecting}`,
    { cause: connectError, waitedMs: Math.round(waitedMs), inUse, waiting, holders },
  )
}

function holdersOf(sessions: Iterable<Session>): readonly Holder[] {
  const now = performance.now()
  const holders: Holder[] = []
  for (const { place, operation, pid } of sessions) {
    if (place.in !== 'use') continue
    const stack = place.trace?.stack
    holders.push({ heldMs: Math.round(now - place.since), pid, operation, ...(stack === undefined ? {} : { stack }) })
  }
  return holders.sort((a, b) => b.heldMs - a.heldMs)
}
