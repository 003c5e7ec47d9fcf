import { durationOption, knownOptions, numberOption, pause } from '@platform/kernel'
import { refuseOption } from '../errors.ts'
import type { KeyedRateLimiter, RateDecision } from '../rate-limit.ts'

export interface MemoryRateLimiterOptions {
  /** Calls per period, at least 1. */
  limit: number
  /** At least 1. */
  periodMs: number
  /** Calls that may come at once after a pause, at least 1. Default: `limit`. */
  burst?: number | undefined
  /** How long a call may wait for its turn. Default 0: it is refused. */
  maxWaitMs?: number | undefined
}

/** Keys looked at per call to drop those that are full again: memory stays bounded by the keys of one period. */
const SWEEP = 2
const FEW_KEYS = 16
export const LONGEST_PENALTY_MS = 86_400_000

/**
 * GCRA in this process: one number per key, the time at which the key's allowance is whole again.
 * Refills smoothly, so there is no edge at which twice the limit passes.
 */
export function memoryRateLimiter(options: MemoryRateLimiterOptions): KeyedRateLimiter {
  knownOptions(refuseOption, 'memoryRateLimiter', options, ['limit', 'periodMs', 'burst', 'maxWaitMs'])
  const limit = numberOption(refuseOption, 'limit', options.limit, 1)
  const periodMs = numberOption(refuseOption, 'periodMs', options.periodMs, 1)
  const burst = options.burst === undefined ? limit : numberOption(refuseOption, 'burst', options.burst, 1)
  const usualWaitMs = durationOption(refuseOption, 'maxWaitMs', options.maxWaitMs ?? 0, 0)
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

  const wait = async (key: string, cost: number, waitMs: number, signal: AbortSignal | undefined): Promise<RateDecision> => {
    try {
      await pause(Math.ceil(waitMs), signal)
    } catch (error) {
      fullAt.set(key, (fullAt.get(key) ?? 0) - cost * costMs)
      throw error
    }
    return { allowed: true, remaining: 0, retryAfterMs: 0 }
  }

  return {
    async acquire(key, { signal, cost = 1, maxWaitMs = usualWaitMs } = {}) {
      signal?.throwIfAborted()
      if (cost !== 1) numberOption(refuseOption, 'cost', cost, 0, burst)
      const now = performance.now()
      forgetSome(now)
      const from = Math.max(fullAt.get(key) ?? now, now)
      const next = from + cost * costMs
      // The tolerance of 1e-6 ms keeps a caller that waits exactly `retryAfterMs` from failing by rounding.
      const waitMs = next - toleranceMs - now
      const allowed = waitMs <= maxWaitMs + 1e-6
      if (allowed) fullAt.set(key, next)
      if (allowed && waitMs > 1e-6) return wait(key, cost, waitMs, signal)
      const remaining = Math.max(0, Math.floor((toleranceMs - ((allowed ? next : from) - now)) / costMs + 1e-9))
      return { allowed, remaining, retryAfterMs: allowed ? 0 : waitMs }
    },
    async reset(key) {
      fullAt.delete(key)
    },
    async penalize(key, forMs) {
      durationOption(refuseOption, 'forMs', forMs, 0, LONGEST_PENALTY_MS)
      const until = performance.now() + forMs + toleranceMs - costMs
      fullAt.set(key, Math.max(fullAt.get(key) ?? 0, until))
    },
  }
}
