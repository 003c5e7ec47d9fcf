import type { PolicyOptions } from './options.ts'
import type { Verdict } from './verdict.ts'

/** What the work of one attempt gets. */
export interface Attempt {
  /** Aborts when the caller aborts or a timeout ends this attempt. Made when first read. */
  readonly signal: AbortSignal
  /** 1 for the first; a hedge has a number of its own. */
  readonly attempt: number
  /** Time left at the moment of reading; undefined when nothing limits it. */
  readonly deadlineMs: number | undefined
  /** Calls the listener once, when this attempt has ended, with what that says about the other side. A later listener replaces it. */
  onEnded(listener: (verdict: Verdict, tookMs: number) => void): void
}

export interface ExecuteOptions<T> {
  /** The caller gets this signal's reason at once, wherever the call stands. */
  signal?: AbortSignal | undefined
  /** Its result takes the place of any error except the caller's own abort. It runs outside the timeouts. If it fails too, an AggregateError has both. */
  fallback?: ((error: unknown) => Promise<T> | T) | undefined
  /** `false`: only errors that prove that nothing was sent are tried again, and nothing is hedged. Default true. */
  idempotent?: boolean | undefined
  /** Order in the bulkhead's queue; when it is full, a more important call takes the place of the latest less important one. Default 'normal'. */
  priority?: 'high' | 'normal' | 'low' | undefined
  /** `false`: this call has one attempt, for work that cannot be begun twice, such as sending a stream. Default true. */
  retry?: boolean | undefined
}

export type BreakerState = 'closed' | 'open' | 'half-open' | 'isolated'

export interface PolicyStats {
  state: BreakerState
  /** Work that has started and not settled, whether or not somebody still waits for it. */
  inFlight: number
  /** Calls waiting for a bulkhead slot. */
  queued: number
  /** What an adaptive bulkhead lets run at once now; only there. */
  concurrencyLimit?: number
}

export interface Policy {
  /** Rejects with what the work threw, unchanged, or with a ResilienceError of the policy's own. */
  execute<T>(run: (attempt: Attempt) => Promise<T> | T, options?: ExecuteOptions<T>): Promise<T>
  /** Replaces all options. Thresholds apply at once; windows, calls in flight and a break under way are untouched. */
  update(options: PolicyOptions): void
  /** Rejects every new call with ERR_RESILIENCE_ISOLATED until each returned function has been called. */
  isolate(): () => void
  /** Closes the breaker at once, with an empty window and the shortest next break. */
  reset(): void
  stats(): PolicyStats
  /** No longer follows a live value and drops out of the metrics. Calls still go through. */
  dispose(): void
  [Symbol.dispose](): void
}

export type Outcome = { ok: true; value: unknown } | { ok: false; error: unknown }
