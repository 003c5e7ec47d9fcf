/**
 * How a stop fits the grace period. Everything is a point in time on one clock, never a sum of durations:
 *
 *   signal ├─ quiesce ─┤──────── drain ────────┤──── close ────┤ margin │ SIGKILL
 *          0          10 %                    75 %           100 % of (gracePeriodMs − margin)
 *
 * Time that a phase does not use is the next one's. Within a phase the levels go one after the other; each may use all that is left but a
 * reserve for the levels after it.
 */
export interface StopPlan {
  readonly quiesceUntil: number
  readonly drainUntil: number
  readonly closeUntil: number
}

export function planStop(startedAt: number, gracePeriodMs: number): StopPlan {
  const total = gracePeriodMs - Math.min(2_000, gracePeriodMs * 0.1)
  return { quiesceUntil: startedAt + total * 0.1, drainUntil: startedAt + total * 0.75, closeUntil: startedAt + total }
}

/** When level `index` of `count` must be done, if its phase must be done at `until` and it is `now`. */
export function levelUntil(now: number, until: number, index: number, count: number): number {
  const left = Math.max(0, until - now)
  const after = count - index - 1
  return until - (after === 0 ? 0 : (left / 2 / count) * after)
}
