import { earlier } from './deadline.ts'
import { ResilienceError } from './errors.ts'
import { MAX_DELAY_MS } from './option-checks.ts'
import type { Attempt } from './policy.ts'

export type Work = (attempt: Attempt) => unknown
/** One layer of the chain, or the rest of the chain behind it. */
export type Next = (call: Call) => Promise<unknown>

interface CallInput {
  policy: string
  run: Work
  signal: AbortSignal | undefined
  idempotent: boolean
  mayRetry: boolean
  timeoutMs: number | undefined
  inheritedDeadlineAt: number | undefined
  inheritedAttempt: number
}

/** One `execute()`: what its layers share, and the one place where the caller's abort and the total timeout arrive. */
export class Call {
  readonly policy: string
  readonly run: Work
  readonly idempotent: boolean
  readonly mayRetry: boolean
  readonly inheritedAttempt: number
  readonly startedAt: number
  /** Monotonic; undefined when nothing limits the call. */
  readonly deadlineAt: number | undefined
  /** Whether a signal or a deadline can end it while it waits. */
  readonly cancellable: boolean
  /** 0 before the first attempt. */
  attempt = 0
  /** Whether this attempt's work was begun: only then does its end say anything about the dependency. */
  started = false
  /** Frees the bulkhead slot that the next attempt's work takes over. */
  slot: (() => void) | undefined
  cancelled: { reason: unknown; byCaller: boolean } | undefined
  /** Ends whatever the call waits for now. A call waits for one thing at a time. */
  onCancel: ((reason: unknown) => void) | undefined
  readonly #signal: AbortSignal | undefined
  readonly #inherited: boolean
  #timer: NodeJS.Timeout | undefined

  constructor({ policy, run, signal, idempotent, mayRetry, timeoutMs, inheritedDeadlineAt, inheritedAttempt }: CallInput) {
    this.policy = policy
    this.run = run
    this.idempotent = idempotent
    this.mayRetry = mayRetry
    this.inheritedAttempt = inheritedAttempt
    this.#signal = signal
    this.startedAt = timeoutMs === undefined && inheritedDeadlineAt === undefined ? 0 : performance.now()
    const own = timeoutMs === undefined ? undefined : this.startedAt + timeoutMs
    this.deadlineAt = earlier(own, inheritedDeadlineAt)
    this.#inherited = this.deadlineAt !== own
    this.cancellable = signal !== undefined || this.deadlineAt !== undefined
  }

  /** Begins to watch the clock and the signal; a call that is over before it began is cancelled. */
  begin(): void {
    if (this.#signal !== undefined) {
      if (this.#signal.aborted) {
        this.cancelled = { reason: this.#signal.reason, byCaller: true }
        return
      }
      this.#signal.addEventListener('abort', this)
    }
    if (this.deadlineAt === undefined) return
    const leftMs = this.deadlineAt - this.startedAt
    if (leftMs <= 0) this.#expire()
    else if (leftMs <= MAX_DELAY_MS) this.#timer = setTimeout(() => this.#expire(), Math.ceil(leftMs))
  }

  stopClock(): void {
    clearTimeout(this.#timer)
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this)
  }

  handleEvent(): void {
    this.#cancel(this.#signal?.reason, true)
  }

  throwIfCancelled(): void {
    if (this.cancelled !== undefined) throw this.cancelled.reason
  }

  /** The promise's outcome, or the reason for the cancellation if that comes first. */
  async race<T>(promise: PromiseLike<T> | T): Promise<T> {
    if (!this.cancellable) return promise
    try {
      return await Promise.race([promise, new Promise<never>((_, reject) => (this.onCancel = reject))])
    } finally {
      this.onCancel = undefined
    }
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer)
        this.onCancel = undefined
      }
      const timer = setTimeout(() => {
        done()
        resolve()
      }, delayMs)
      this.onCancel = (reason) => {
        done()
        reject(reason)
      }
    })
  }

  #expire(): void {
    const elapsedMs = performance.now() - this.startedAt
    const which = this.#inherited ? 'deadline' : 'total'
    const message = `${this.policy}: no result ${this.#inherited ? "by the caller's deadline" : `in time`} (${Math.round(elapsedMs)} ms)`
    this.#cancel(new ResilienceError('ERR_RESILIENCE_TIMEOUT', message, { policy: this.policy, which, elapsedMs }), false)
  }

  #cancel(reason: unknown, byCaller: boolean): void {
    // A fallback under way is no longer subject to the clock but still to the caller.
    if (this.cancelled !== undefined && !byCaller) return
    this.cancelled = { reason, byCaller }
    this.onCancel?.(reason)
  }
}
