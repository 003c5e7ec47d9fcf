import { longestTimerMs, timerMs } from '@platform/kernel'
import type { Slot } from './bulkhead.ts'
import type { Call, CancelledBy, Next } from './call.ts'
import { earlier, runInCallContext } from './deadline.ts'
import { ResilienceError } from './errors.ts'
import { eventLoop } from './event-loop.ts'
import { callHook } from './hooks.ts'
import type { Attempt } from './policy.ts'
import { type Verdict, verdictOfError, verdictOfValue } from './verdict.ts'

/** Work that has started and not settled. */
export interface InFlight {
  inFlight: number
}

type Ended = (verdict: Verdict, tookMs: number) => void

/** The last attempt of a call that had at least this part of the call's time was not cut short by those before it. */
const OWN_PART = 0.5

/**
 * The innermost layer: runs the work, and gives up waiting at the attempt's timeout or when the call is cancelled. The slot
 * and the count are released only when the work itself settles, so that what really runs stays within the bulkhead.
 */
export function attemptLayer(counter: InFlight, attemptTimeoutMs: number | undefined): Next {
  return (call) => RunningAttempt.run(call, counter, attemptTimeoutMs)
}

/** What the work gets to see is the public half; one timer serves the attempt's limit and the call's. */
class RunningAttempt implements Attempt {
  readonly attempt: number
  readonly #call: Call
  readonly #counter: InFlight
  readonly #slot: Slot | undefined
  readonly #startedAt: number
  readonly #lateAtStart: number
  readonly #timeoutMs: number | undefined
  #deadlineAt: number | undefined
  #controller: AbortController | undefined
  #aborted: { reason: unknown } | undefined
  #timer: NodeJS.Timeout | undefined
  #listener: Ended | undefined
  #over = false
  #reject: ((error: unknown) => void) | undefined

  private constructor(call: Call, counter: InFlight, now: number, timeoutMs: number | undefined) {
    this.attempt = call.attempt
    this.#call = call
    this.#counter = counter
    this.#slot = call.slot
    this.#startedAt = now
    this.#lateAtStart = eventLoop.enter(now)
    this.#timeoutMs = timeoutMs
    this.#deadlineAt = timeoutMs === undefined ? call.deadlineAt : earlier(call.deadlineAt, now + timeoutMs)
  }

  static run(call: Call, counter: InFlight, timeoutMs: number | undefined): Promise<unknown> {
    const now = call.waited ? performance.now() : call.startedAt
    if (call.deadlineAt !== undefined && call.deadlineAt <= now) call.expire()
    if (call.cancelled !== undefined) {
      call.slot?.settled()
      call.slot = undefined
      return Promise.reject(call.cancelled.reason)
    }
    call.beginAttempt()
    const attempt = new RunningAttempt(call, counter, now, timeoutMs)
    call.slot = undefined
    counter.inFlight++
    let work: unknown
    try {
      work = attempt.#start()
    } catch (error) {
      work = Promise.reject(error)
    }
    return attempt.#answer(Promise.resolve(work))
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason)
    }
    return this.#controller.signal
  }

  get deadlineMs(): number | undefined {
    return this.#deadlineAt === undefined ? undefined : Math.max(0, this.#deadlineAt - performance.now())
  }

  onEnded(listener: Ended): void {
    this.#listener = listener
  }

  #start(): unknown {
    const call = this.#call
    const number = Math.max(call.inheritedAttempt, call.attempt)
    if (this.#deadlineAt === undefined && number === 1) return call.run(this)
    return runInCallContext({ deadlineAt: this.#deadlineAt, attempt: number }, call.run, this)
  }

  #answer(work: Promise<unknown>): Promise<unknown> {
    const call = this.#call
    // Nothing can end it before the work does: who waits for the work hears of it after this.
    if (!call.cancellable && this.#deadlineAt === undefined) {
      work.then(
        (value) => this.#fulfilled(value),
        (error: unknown) => this.#rejected(error),
      )
      return work
    }
    return new Promise((resolve, reject) => {
      this.#reject = reject
      work.then(
        (value) => {
          if (this.#fulfilled(value)) resolve(value)
        },
        (error: unknown) => {
          if (this.#rejected(error)) reject(error)
        },
      )
      if (call.cancelled !== undefined) {
        this.#giveUp(call.cancelled.reason, call.cancelled.by)
        return
      }
      call.onCancel = (reason, by) => this.#giveUp(reason, by)
      this.#armTimer(this.#startedAt)
    })
  }

  /** Whether anybody still waited. */
  #fulfilled(value: unknown): boolean {
    const waited = !this.#over
    if (waited) {
      const now = performance.now()
      this.#finish(verdictOfValue(value), now, this.#lateMs(now))
    }
    this.#settled()
    return waited
  }

  #rejected(error: unknown): boolean {
    const waited = !this.#over
    if (waited) {
      const now = performance.now()
      const lateMs = this.#lateMs(now)
      this.#finish(verdictOfError(error, lateMs), now, lateMs)
    }
    this.#settled()
    return waited
  }

  #settled(): void {
    this.#counter.inFlight--
    this.#slot?.settled()
    eventLoop.leave()
  }

  /** Nobody waits any more: this is what the attempt says. */
  #finish(verdict: Verdict, now: number, lateMs: number): void {
    this.#over = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    const call = this.#call
    call.onCancel = undefined
    const tookMs = now - this.#startedAt - lateMs
    call.verdict = verdict
    call.tookMs = tookMs
    call.endedAt = now
    this.#slot?.judged(verdict, tookMs)
    if (this.#listener !== undefined) {
      const listener = this.#listener
      callHook(() => listener(verdict, tookMs), undefined)
    }
  }

  #lateMs(now: number): number {
    return eventLoop.lateMsSince(this.#lateAtStart, now)
  }

  #giveUp(reason: unknown, by: CancelledBy): void {
    if (this.#over) return
    const now = performance.now()
    const lateMs = this.#lateMs(now)
    this.#finish(this.#verdictOn(by, now - this.#startedAt - lateMs, lateMs), now, lateMs)
    this.#reject!(reason)
    this.#aborted = { reason }
    this.#controller?.abort(reason)
  }

  #verdictOn(by: CancelledBy, tookMs: number, lateMs: number): Verdict {
    if (by === 'hedge') return 'not-wanted'
    if (by === 'attempt') return 'timed-out'
    if (by === 'timeout' && tookMs >= OWN_PART * this.#call.timeoutMs!) return 'timed-out'
    return lateMs > tookMs ? 'stalled' : 'too-slow'
  }

  #armTimer(now: number): void {
    if (this.#deadlineAt === undefined || this.#deadlineAt - now > longestTimerMs) return
    this.#timer = setTimeout(() => this.#expire(), timerMs(Math.ceil(this.#deadlineAt - now)))
  }

  #expire(): void {
    const { policy, deadlineAt } = this.#call
    const now = performance.now()
    const lateMs = this.#lateMs(now)
    if (deadlineAt === this.#deadlineAt) {
      // The answer may have come while this process could not look.
      if (lateMs === 0) this.#call.expire()
      else setImmediate(() => void (this.#over || this.#call.expire()))
      return
    }
    const elapsedMs = now - this.#startedAt
    const leftMs = this.#timeoutMs! - (elapsedMs - lateMs)
    if (lateMs > 0 && leftMs >= 1) {
      // Time in which this process was deaf is not waiting.
      this.#deadlineAt = earlier(deadlineAt, now + leftMs)
      this.#armTimer(now)
      return
    }
    const message = `${policy}: attempt ${this.attempt} gave no result in ${Math.round(elapsedMs)} ms`
    this.#giveUp(new ResilienceError('ERR_RESILIENCE_TIMEOUT', message, { policy, which: 'attempt', elapsedMs }), 'attempt')
  }
}
