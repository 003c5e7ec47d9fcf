import type { Call, Next } from './call.ts'
import { earlier, runInCallContext } from './deadline.ts'
import { ResilienceError } from './errors.ts'
import type { Attempt } from './policy.ts'

class RunningAttempt implements Attempt {
  readonly attempt: number
  readonly #deadlineAt: number | undefined
  #controller: AbortController | undefined
  #aborted: { reason: unknown } | undefined

  constructor(attempt: number, deadlineAt: number | undefined) {
    this.attempt = attempt
    this.#deadlineAt = deadlineAt
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

  abort(reason: unknown): void {
    this.#aborted = { reason }
    this.#controller?.abort(reason)
  }
}

/** Work that has started and not settled. */
export interface InFlight {
  inFlight: number
}

/**
 * The innermost layer: runs the work, and gives up waiting at the attempt's timeout or when the call is cancelled. The slot
 * and the count are released only when the work itself settles, so that what really runs stays within the bulkhead.
 */
export function attemptLayer(counter: InFlight, attemptTimeoutMs: number | undefined): Next {
  return (call) => {
    if (call.cancelled !== undefined) {
      call.slot?.()
      call.slot = undefined
      return Promise.reject(call.cancelled.reason)
    }
    const startedAt = attemptTimeoutMs === undefined ? 0 : performance.now()
    const deadlineAt = attemptTimeoutMs === undefined ? call.deadlineAt : earlier(call.deadlineAt, startedAt + attemptTimeoutMs)
    const attempt = new RunningAttempt(call.attempt, deadlineAt)
    const { slot } = call
    call.slot = undefined
    call.started = true
    counter.inFlight++
    const settled = (): void => {
      counter.inFlight--
      slot?.()
    }
    let work: Promise<unknown>
    try {
      work = Promise.resolve(start(call, attempt, deadlineAt))
    } catch (error) {
      work = Promise.reject(error)
    }
    if (!call.cancellable && attemptTimeoutMs === undefined) return settle(work, settled)
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      let over = false
      const finish = (): boolean => {
        if (over) return false
        over = true
        clearTimeout(timer)
        call.onCancel = undefined
        return true
      }
      const giveUp = (reason: unknown): void => {
        finish()
        reject(reason)
        attempt.abort(reason)
      }
      work.then(
        (value) => {
          settled()
          if (finish()) resolve(value)
        },
        (error: unknown) => {
          settled()
          if (finish()) reject(error)
        },
      )
      if (call.cancelled !== undefined) {
        giveUp(call.cancelled.reason)
        return
      }
      call.onCancel = giveUp
      if (attemptTimeoutMs !== undefined) timer = setTimeout(() => giveUp(attemptTimeout(call, startedAt)), attemptTimeoutMs)
    })
  }
}

function start(call: Call, attempt: RunningAttempt, deadlineAt: number | undefined): unknown {
  const number = Math.max(call.inheritedAttempt, call.attempt)
  if (deadlineAt === undefined && number === 1) return call.run(attempt)
  return runInCallContext({ deadlineAt, attempt: number }, call.run, attempt)
}

async function settle(work: Promise<unknown>, settled: () => void): Promise<unknown> {
  try {
    return await work
  } finally {
    settled()
  }
}

function attemptTimeout(call: Call, startedAt: number): ResilienceError {
  const elapsedMs = performance.now() - startedAt
  const message = `${call.policy}: attempt ${call.attempt} gave no result in ${Math.round(elapsedMs)} ms`
  return new ResilienceError('ERR_RESILIENCE_TIMEOUT', message, { policy: call.policy, which: 'attempt', elapsedMs })
}
