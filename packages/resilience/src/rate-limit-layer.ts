import type { Next } from './call.ts'
import { localRejection } from './errors.ts'
import type { RateLimiter } from './rate-limit.ts'

export function rateLimitLayer(limiter: RateLimiter, key: string, next: Next): Next {
  return async (call) => {
    // The limiter stops waiting for its turn when the call is over.
    const controller = new AbortController()
    const decision = limiter.acquire(key, { signal: controller.signal })
    decision.catch(() => {})
    try {
      const { allowed, retryAfterMs } = await call.race(decision)
      call.throwIfCancelled()
      if (!allowed) {
        const facts = { policy: call.policy, retryAfterMs }
        throw localRejection('ERR_RESILIENCE_RATE_LIMITED', `${call.policy}: rate limit reached`, facts)
      }
    } catch (error) {
      if (call.cancelled !== undefined) controller.abort(call.cancelled.reason)
      throw error
    }
    return next(call)
  }
}
