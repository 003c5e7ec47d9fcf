import { ResilienceError } from './errors.ts'
import { provesNotSent } from './not-sent.ts'
import { retryAfterMs } from './retry-after.ts'

/**
 * What the end of one attempt says about the other side. Whatever judges a dependency (breaker, adaptive limit, hedge delay, retry budget, the
 * balancer and the ejection of a service client) takes this, with the time that the attempt took, and nothing else.
 *
 * - `answered`: a result came.
 * - `refused`: it asked to be left alone for now: status 429, or 503 with Retry-After.
 * - `failed`: an error that does not prove that nothing was sent.
 * - `not-sent`: an error that proves that nothing was sent.
 * - `timed-out`: no result within the policy's own limit.
 * - `too-slow`: whoever waited had no more time. It took at least so long; whether that was long is for the judge to say.
 * - `not-wanted`: nothing was asked of it, or the answer was not needed any more: a refusal of our own, a hedge that lost.
 * - `stalled`: the time was lost in this process, whose event loop was late. Nobody is to blame.
 */
export type Verdict = 'answered' | 'refused' | 'failed' | 'not-sent' | 'timed-out' | 'too-slow' | 'not-wanted' | 'stalled'

/** A caller that gave up says `slow` only after so many times the usual. */
const IMPATIENT = 4

/** Whether an attempt that was given up after `tookMs` was slow for one that usually takes `usualMs`; undefined: nothing is known yet. */
export function isSlowFor(tookMs: number, usualMs: number | undefined): boolean {
  return usualMs !== undefined && tookMs >= IMPATIENT * usualMs
}

export function verdictOfValue(value: unknown): 'answered' | 'refused' {
  return typeof value === 'object' && value !== null && asksToStayAway(value) ? 'refused' : 'answered'
}

/** `stalledMs` is what this process lost of the attempt's time. */
export function verdictOfError(error: unknown, stalledMs: number): Verdict {
  try {
    return verdictOf(error, stalledMs)
  } catch {
    // A getter of somebody else's error.
    return 'failed'
  }
}

function verdictOf(error: unknown, stalledMs: number): Verdict {
  if (ResilienceError.isInstance(error)) {
    if (error.code !== 'ERR_RESILIENCE_TIMEOUT') return 'not-wanted'
    return error.which === 'deadline' ? 'too-slow' : 'timed-out'
  }
  if (typeof error !== 'object' || error === null) return 'failed'
  if (stalledMs > 0 && isTimeout(error)) return 'stalled'
  if (provesNotSent(error)) return 'not-sent'
  return asksToStayAway(error) ? 'refused' : 'failed'
}

function asksToStayAway(source: object): boolean {
  try {
    const status = statusOf(source) ?? statusOf((source as { response?: unknown }).response)
    return status === 429 || (status === 503 && retryAfterMs(source) !== undefined)
  } catch {
    return false
  }
}

function statusOf(source: unknown): unknown {
  const { status, statusCode } = (source ?? {}) as { status?: unknown; statusCode?: unknown }
  return status ?? statusCode
}

function isTimeout(error: object): boolean {
  for (const source of [error, (error as { cause?: unknown }).cause]) {
    const { code, name } = (source ?? {}) as { code?: unknown; name?: unknown }
    if (name === 'TimeoutError' || (typeof code === 'string' && /TIMEOUT|TIMEDOUT/.test(code))) return true
  }
  return false
}
