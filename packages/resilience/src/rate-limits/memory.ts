import { numberOption, onlyKnown } from '../option-checks.ts'
import type { RateDecision, RateLimiter } from '../rate-limit.ts'

export interface MemoryRateLimiterOptions {
  /** Calls per period, at least 1. */
  limit: number
  /** At least 1. */
  periodMs: number
  /** Calls that may come at once after a pause, at least 1. Default: `limit`. */
  burst?: number | undefined
}

/** Keys looked at per call to drop those that are full again: memory stays bounded by the keys of one period. */
const SWEEP = 2
const FEW_KEYS = 16

/**
 * GCRA in this process: one number per key, the time at which the key's allowance is whole again.
 * Refills smoothly, so there is no edge at which twice the limit passes.
 */
export function memoryRateLimiter(options: MemoryRateLimiterOptions): RateLimiter {
  onlyKnown('memoryRateLimiter', options, ['limit', 'periodMs', 'burst'])
  const limit = numberOption('limit', options.limit, { min: 1 })
  const periodMs = numberOption('periodMs', options.periodMs, { min: 1 })
  const burst = options.burst === undefined ? limit : numberOption('burst', options.burst, { min: 1 })
  const costMs = periodMs / limit
  const toleranceMs = costMs * burst
  const fullAt = new Map<string, number>()
  let sweep = fullAt.entries()

  const forgetSome = (now: number): void => {
    if (fullAt.size <= FEW_KEYS) return
    for (let looked = 0; looked < SWEEP; looked++) {
      const { value, done } = sweep.next()
      if (done) {
        sweep = fullAt.entries()
        return
      }
      if (value[1] <= now) fullAt.delete(value[0])
    }
  }

  const decide = (key: string, cost: number): RateDecision => {
    const now = performance.now()
    forgetSome(now)
    const from = Math.max(fullAt.get(key) ?? now, now)
    const next = from + cost * costMs
    // The tolerance of 1e-6 ms keeps a caller that waits exactly `retryAfterMs` from failing by rounding.
    const waitMs = next - toleranceMs - now
    const allowed = waitMs <= 1e-6
    if (allowed) fullAt.set(key, next)
    const remaining = Math.max(0, Math.floor((toleranceMs - ((allowed ? next : from) - now)) / costMs + 1e-9))
    return { allowed, remaining, retryAfterMs: allowed ? 0 : waitMs }
  }

  return {
    async acquire(key, { signal, cost = 1 } = {}) {
      signal?.throwIfAborted()
      if (cost !== 1) numberOption('cost', cost, { min: 0, max: burst })
      return decide(key, cost)
    },
  }
}
