/** Decides whether a call may go now. It never waits: a refused caller learns when to come back. */
export interface RateLimiter {
  /** `cost` defaults to 1. */
  acquire(key: string, options?: { signal?: AbortSignal | undefined; cost?: number | undefined }): Promise<RateDecision>
}

export interface RateDecision {
  allowed: boolean
  /** Cost that would still be allowed right now. */
  remaining: number
  /** 0 when allowed. */
  retryAfterMs: number
}
