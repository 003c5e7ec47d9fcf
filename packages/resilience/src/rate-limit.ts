/** Decides whether a call may go now, or when its turn is. */
export interface RateLimiter {
  /**
   * `cost` defaults to 1. A call whose turn comes within `maxWaitMs` waits for it; any other is refused at once and learns when to come back.
   * Whoever aborts while it waits gives its turn back.
   */
  acquire(
    key: string,
    options?: { signal?: AbortSignal | undefined; cost?: number | undefined; maxWaitMs?: number | undefined },
  ): Promise<RateDecision>
}

export interface KeyedRateLimiter extends RateLimiter {
  /** The key's whole allowance is there again. */
  reset(key: string): Promise<void>
  /** Nothing passes for `forMs`, up to a day; after that the key begins with an empty allowance. */
  penalize(key: string, forMs: number): Promise<void>
}

export interface RateDecision {
  allowed: boolean
  /** Cost that would still be allowed right now. */
  remaining: number
  /** 0 when allowed. */
  retryAfterMs: number
}
