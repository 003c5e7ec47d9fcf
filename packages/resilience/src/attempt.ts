import type { Slot } from './bulkhead.ts'
import type { Call, Next } from './call.ts'
import { earlier, runInCallContext } from './deadline.ts'
import { ResilienceError } from './errors.ts'
import { MAX_DELAY_MS } from './option-checks.ts'
import type { Attempt } from './policy.ts'

/** Work that has started and not settled. */
export interface InFlight {
  inFlight: number
}

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
  readonly #deadlineAt: number | undefined
  #controller: AbortController | undefined
  #aborted: { reason: unknown } | undefined
  #timer: NodeJS.Timeout | undefined
  #over = false
  #resolve: ((value: unknown) => void) | undefined
  #reject: ((error: unknown) => void) | undefined

  private constructor(call: Call, counter: InFlight, deadlineAt: number | undefined) {
    this.attempt = call.attempt
    this.#call = call
    this.#counter = counter
    this.#slot = call.slot
    this.#deadlineAt = deadlineAt
  }

  static run(call: Call, counter: InFlight, attemptTimeoutMs: number | undefined): Promise<unknown> {
    const now = performance.now()
    if (call.deadlineAt !== undefined && call.deadlineAt <= now) call.expire()
    if (call.cancelled !== undefined) {
      call.slot?.release(false)
      call.slot = undefined
      return Promise.reject(call.cancelled.reason)
    }
    call.beginAttempt(now)
    const own = attemptTimeoutMs === undefined ? undefined : now + attemptTimeoutMs
    const attempt = new RunningAttempt(call, counter, earlier(call.deadlineAt, own))
    call.slot = undefined
    counter.inFlight++
    let work: unknown
    try {
      work = attempt.#start()
    } catch (error) {
      work = Promise.reject(error)
    }
    return attempt.#answer(Promise.resolve(work), now)
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

  #start(): unknown {
    const call = this.#call
    const number = Math.max(call.inheritedAttempt, call.attempt)
    if (this.#deadlineAt === undefined && number === 1) return call.run(this)
    return runInCallContext({ deadlineAt: this.#deadlineAt, attempt: number }, call.run, this)
  }

  #answer(work: Promise<unknown>, now: number): Promise<unknown> {
    const call = this.#call
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      work.then(
        (value) => {
          if (this.#settled(true)) this.#resolve!(value)
        },
        (error: unknown) => {
          if (this.#settled(false)) this.#reject!(error)
        },
      )
      if (call.cancelled !== undefined) {
        this.#giveUp(call.cancelled.reason)
        return
      }
      if (call.cancellable || this.#deadlineAt !== undefined) call.onCancel = (reason) => this.#giveUp(reason)
      if (this.#deadlineAt === undefined || this.#deadlineAt - now > MAX_DELAY_MS) return
      this.#timer = setTimeout(() => this.#expire(now), Math.ceil(this.#deadlineAt - now))
    })
  }

  /** Whether anybody still waits for the answer. */
  #settled(ok: boolean): boolean {
    this.#counter.inFlight--
    this.#slot?.release(ok && !this.#over)
    return this.#finish()
  }

  #finish(): boolean {
    if (this.#over) return false
    this.#over = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#call.onCancel = undefined
    return true
  }

  #giveUp(reason: unknown): void {
    if (!this.#finish()) return
    this.#reject!(reason)
    this.#aborted = { reason }
    this.#controller?.abort(reason)
  }

  #expire(startedAt: number): void {
    const { policy, deadlineAt } = this.#call
    this.#slot?.timedOut()
    if (deadlineAt === this.#deadlineAt) {
      this.#call.expire()
      return
    }
    const elapsedMs = performance.now() - startedAt
    const message = `${policy}: attempt ${this.attempt} gave no result in ${Math.round(elapsedMs)} ms`
    this.#giveUp(new ResilienceError('ERR_RESILIENCE_TIMEOUT', message, { policy, which: 'attempt', elapsedMs }))
  }
}
