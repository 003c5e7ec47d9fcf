import type { Breaker } from './breaker.ts'
import type { Outcome } from './policy.ts'
import type { RateLimiter } from './rate-limit.ts'
import type { RetryBudget } from './retry-budget.ts'

export interface RetryOptions {
  /** Tries including the first, at least 1. */
  maxAttempts: number
  /** Default 100. */
  initialDelayMs?: number | undefined
  /** Longest wait between attempts. A Retry-After beyond it ends the call instead of being cut short. Default 10,000. */
  maxDelayMs?: number | undefined
  /** Default 'exponential' (doubling). */
  backoff?: 'exponential' | 'constant' | undefined
  /** 'full': a random part of the delay, so that callers do not come back together. Default 'full'. */
  jitter?: 'full' | 'none' | undefined
  /** Default: one of this policy's own with the defaults of `retryBudget()`. */
  budget?: RetryBudget | undefined
  /** Which outcomes are tried again. Default: every error. Local rejections and the caller's abort never are. */
  shouldHandle?: ((outcome: Outcome) => boolean) | undefined
  /**
   * Whether the next attempt goes to somebody else, so that it need not wait for the one that failed or asked for time: it is sent after a
   * random part of `initialDelayMs`, whatever Retry-After says. Default: never.
   */
  elsewhere?: ((outcome: Outcome) => boolean) | undefined
}

export interface BreakerOptions {
  kind?: 'window' | undefined
  /** Failed part of the finished calls of the window at which it opens, above 0 up to 1. Default 0.5. */
  failureRatio?: number | undefined
  /** Finished calls that the window must hold before the ratio counts, at least 1. Default 20. */
  minimumThroughput?: number | undefined
  /** Length of the window, at least 10. Default 10,000. */
  samplingDurationMs?: number | undefined
  /** Also opens after so many failures in a row, however few calls there are. Default: never. */
  consecutiveFailures?: number | undefined
  /** A finished call that took at least so long is slow. Default: none is. */
  slowCallDurationMs?: number | undefined
  /** Slow part of the finished calls of the window at which it opens too, above 0 up to 1. Default 0.5. */
  slowCallRatio?: number | undefined
  /** Shortest break. The first lasts up to twice as long, by chance, each repeat up to twice as long as the one before. Default 5000. */
  breakDurationMs?: number | undefined
  /** Longest break, at least `breakDurationMs`; equal to it, every break lasts exactly so long. Default: ten times as long. */
  maxBreakDurationMs?: number | undefined
  /** Calls let through in half-open; all must succeed to close. Default 1. */
  probes?: number | undefined
  /** A probe without a result after this time counts as failed. Default: `breakDurationMs`. */
  probeTimeoutMs?: number | undefined
  /** After the probes, 10, 25 and 50 % of the calls get through for a third of this time each. 0: all at once. Default: a fifth of `breakDurationMs`. */
  recoveryMs?: number | undefined
  /** Which outcomes count as failure. Default: every error. Local rejections and the caller's abort never count. */
  shouldHandle?: ((outcome: Outcome) => boolean) | undefined
}

/** Rejects the part of the calls that gets no good answer anyway, instead of all or none; has no half-open. */
export interface GradualBreakerOptions {
  kind: 'gradual'
  /** Calls let through per call that succeeds, above 1: higher sends more to an ailing dependency and notices its recovery sooner. Default 2. */
  allowance?: number | undefined
  /** Finished or rejected calls that the window must hold before any is rejected, at least 1. Default 20. */
  minimumThroughput?: number | undefined
  /** Length of the window, at least 10. Default 10,000. */
  samplingDurationMs?: number | undefined
  /** Which outcomes count as failure. Default: every error. Local rejections and the caller's abort never count. */
  shouldHandle?: ((outcome: Outcome) => boolean) | undefined
}

export interface BulkheadOptions {
  /** Work that may run at once, at least 1. A slot is free again when the work has really settled. */
  maxConcurrent: number
  /** Looks for the concurrency at which latency begins to rise, up to `maxConcurrent`. Default: fixed. */
  adaptive?: AdaptiveOptions | undefined
  /** Calls that may wait. Default 0. */
  maxQueued?: number | undefined
  /** Longest wait. Default 1000. */
  maxWaitMs?: number | undefined
}

export interface AdaptiveOptions {
  /** Default 1. */
  minConcurrent?: number | undefined
  /** Where it begins. Default 20, within the bounds. */
  initialConcurrent?: number | undefined
}

export interface HedgeOptions {
  /** Attempts that may run beside the first, at least 1. */
  maxHedges: number
  /** Wait before each. Default: the live 95th percentile of this policy's attempts, and no hedge until 50 are known. */
  delayMs?: number | undefined
}

/** Called in line; an error they throw becomes a process warning and does not touch the call. */
export interface PolicyHooks {
  onRetry?: ((event: { attempt: number; delayMs: number; outcome: Outcome }) => void) | undefined
  onGiveUp?: ((event: { attempt: number; reason: GiveUpReason; outcome: Outcome }) => void) | undefined
  onBreak?: ((event: { breakDurationMs: number }) => void) | undefined
  onHalfOpen?: (() => void) | undefined
  onReset?: (() => void) | undefined
  onReject?: ((event: { code: string }) => void) | undefined
}

/** Why an outcome that should be handled was not tried again. */
export type GiveUpReason = 'attempts' | 'budget' | 'deadline' | 'disabled' | 'not-idempotent' | 'nested' | 'retry-after'

export interface PolicyOptions extends PolicyHooks {
  /** Label in metrics and errors, and the key for `rateLimit`. Cannot change. Default 'default'. */
  name?: string | undefined
  /** Limit of the whole call with all attempts and waits. Default: none. */
  timeoutMs?: number | undefined
  /** Limit of each attempt. Default: none. */
  attemptTimeoutMs?: number | undefined
  retry?: RetryOptions | undefined
  hedge?: HedgeOptions | undefined
  /** Settings of a breaker of this package, or another's, such as `opossumBreaker(existing)` from `@platform/resilience/opossum`. */
  breaker?: BreakerOptions | GradualBreakerOptions | Breaker | undefined
  bulkhead?: BulkheadOptions | undefined
  rateLimit?: RateLimiter | undefined
}
