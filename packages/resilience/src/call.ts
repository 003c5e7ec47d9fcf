import { longestTimerMs, timerMs } from '@platform/kernel'
import type { Slot } from './bulkhead.ts'
import { earlier } from './deadline.ts'
import { ResilienceError } from './errors.ts'
import type { Attempt } from './policy.ts'
import type { Verdict } from './verdict.ts'

export type Work = (attempt: Attempt) => unknown
/** One layer of the chain, or the rest of the chain behind it. It may throw instead of rejecting. */
export type Next = (call: Call) => Promise<unknown>
/** Who ended a wait: the caller's signal, a deadline from further out, this policy's total or attempt timeout, or another attempt that won. */
export type CancelledBy = 'caller' | 'deadline' | 'timeout' | 'attempt' | 'hedge'

interface CallInput {
  policy: string
  run: Work
  signal: AbortSignal | undefined
  idempotent: boolean
  mayRetry: boolean
  /** 0 is the most important. */
  priority: number
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
  readonly priority: number
  readonly inheritedAttempt: number
  readonly startedAt: number
  /** Monotonic; undefined when nothing limits the call. */
  readonly deadlineAt: number | undefined
  /** Whether a signal, a deadline or a faster hedge can end it while it waits. */
  readonly cancellable: boolean
  /** How often the work was begun, hedges included; in one of several attempts its number. */
  attempt = 0
  /** How the latest attempt ended, what it took, and when; 'not-wanted' while none has. */
  verdict: Verdict = 'not-wanted'
  tookMs = 0
  endedAt: number | undefined
  /** Whether time has passed since `startedAt`. Reading the clock is the dearest part of a call. */
  waited = false
  /** The bulkhead's, for the next attempt's work to take over. */
  slot: Slot | undefined
  cancelled: { reason: unknown; by: CancelledBy } | undefined
  /** Ends whatever the call waits for now. A call waits for one thing at a time. */
  onCancel: ((reason: unknown, by: CancelledBy) => void) | undefined
  /** In one of several attempts: called when its work begins. */
  onBegin: (() => void) | undefined
  readonly timeoutMs: number | undefined
  readonly #signal: AbortSignal | undefined
  readonly #inherited: boolean
  readonly #parent: Call | undefined

  constructor(input: CallInput, parent?: Call) {
    const { signal, timeoutMs } = input
    this.policy = input.policy
    this.run = input.run
    this.idempotent = input.idempotent
    this.mayRetry = input.mayRetry
    this.priority = input.priority
    this.inheritedAttempt = input.inheritedAttempt
    this.#signal = signal
    this.#parent = parent
    this.timeoutMs = parent === undefined ? timeoutMs : parent.timeoutMs
    this.startedAt = performance.now()
    const own = timeoutMs === undefined ? undefined : this.startedAt + timeoutMs
    this.deadlineAt = earlier(own, input.inheritedDeadlineAt)
    this.#inherited = this.deadlineAt !== own
    this.cancellable = signal !== undefined || this.deadlineAt !== undefined || parent !== undefined
  }

  /** One of several attempts of this call that run at the same time and end on their own. */
  fork(): Call {
    const { policy, run, idempotent, mayRetry, priority, inheritedAttempt, deadlineAt } = this
    const input = { policy, run, signal: undefined, idempotent, mayRetry, priority, inheritedAttempt, timeoutMs: undefined }
    return new Call({ ...input, inheritedDeadlineAt: deadlineAt }, this)
  }

  beginAttempt(): void {
    this.attempt = this.#parent === undefined ? this.attempt + 1 : ++this.#parent.attempt
    this.verdict = 'not-wanted'
    this.endedAt = undefined
    this.waited = true
    this.onBegin?.()
  }

  /** Begins to watch the signal; a call that is over before it began is cancelled. Every wait watches the clock itself. */
  begin(): void {
    if (this.#signal !== undefined) {
      if (this.#signal.aborted) {
        this.cancelled = { reason: this.#signal.reason, by: 'caller' }
        return
      }
      this.#signal.addEventListener('abort', this)
    }
    if (this.deadlineAt !== undefined && this.deadlineAt <= this.startedAt) this.expire()
  }

  end(): void {
    this.#signal?.removeEventListener('abort', this)
  }

  handleEvent(): void {
    this.cancel(this.#signal?.reason, 'caller')
  }

  throwIfCancelled(): void {
    if (this.cancelled !== undefined) throw this.cancelled.reason
  }

  /** The promise's outcome, or the reason for the cancellation if that comes first. */
  race<T>(promise: PromiseLike<T> | T, watchClock = true): Promise<T> {
    this.waited = true
    if (!this.cancellable) return Promise.resolve(promise)
    return new Promise<T>((resolve, reject) => {
      let over = false
      const timer = watchClock ? this.#expireInTime() : undefined
      const finish = (): boolean => {
        if (over) return false
        over = true
        clearTimeout(timer)
        this.onCancel = undefined
        return true
      }
      this.onCancel = (reason) => {
        if (finish()) reject(reason)
      }
      Promise.resolve(promise).then(
        (value) => {
          if (finish()) resolve(value)
        },
        (error: unknown) => {
          if (finish()) reject(error)
        },
      )
    })
  }

  /** The delay must end before the deadline. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.onCancel = undefined
        resolve()
      }, delayMs)
      this.onCancel = (reason) => {
        clearTimeout(timer)
        this.onCancel = undefined
        reject(reason)
      }
    })
  }

  /** The total timeout or the caller's deadline is over. */
  expire(): void {
    if (this.#parent !== undefined) {
      this.#parent.expire()
      return
    }
    const elapsedMs = performance.now() - this.startedAt
    const which = this.#inherited ? 'deadline' : 'total'
    const message = `${this.policy}: no result ${this.#inherited ? "by the caller's deadline" : `in time`} (${Math.round(elapsedMs)} ms)`
    this.cancel(
      new ResilienceError('ERR_RESILIENCE_TIMEOUT', message, { policy: this.policy, which, elapsedMs }),
      this.#inherited ? 'deadline' : 'timeout',
    )
  }

  cancel(reason: unknown, by: CancelledBy): void {
    // A fallback under way is no longer subject to the clock but still to the caller.
    if (this.cancelled !== undefined && by !== 'caller') return
    this.cancelled = { reason, by }
    this.onCancel?.(reason, by)
  }

  #expireInTime(): NodeJS.Timeout | undefined {
    if (this.deadlineAt === undefined) return undefined
    const leftMs = this.deadlineAt - performance.now()
    return leftMs > longestTimerMs ? undefined : setTimeout(() => this.expire(), timerMs(Math.ceil(leftMs)))
  }
}
