import type { Call, Next } from './call.ts'
import type { Permit, Transition, Verdict } from './circuit-breaker.ts'
import { isLocalRejection, type ResilienceError } from './errors.ts'
import type { Outcome } from './policy.ts'

export interface Breaker {
  readonly settings: { readonly shouldHandle: ((outcome: Outcome) => boolean) | undefined }
  readonly state: Transition
  /** A rejection that is certain before a call is set up. */
  readonly refusal: ResilienceError | undefined
  /** Throws ERR_RESILIENCE_CIRCUIT_OPEN when the call may not go. */
  admit(): Permit
  record(permit: Permit, verdict: Verdict, startedAt: number): void
  reset(): void
  dispose(): void
}

export function breakerLayer(breaker: Breaker, next: Next): Next {
  const judge = (call: Call, ok: boolean, result: unknown): Verdict => {
    if (!ok && (!call.started || call.cancelled?.byCaller || isLocalRejection(result))) return 'neutral'
    const { shouldHandle } = breaker.settings
    if (shouldHandle === undefined) return ok ? 'success' : 'failure'
    return shouldHandle(ok ? { ok, value: result } : { ok, error: result }) ? 'failure' : 'success'
  }
  const admitted = async (call: Call, permit: Permit): Promise<unknown> => {
    call.started = false
    let verdict: Verdict = 'neutral'
    try {
      const value = await next(call)
      verdict = judge(call, true, value)
      return value
    } catch (error) {
      // An error of `shouldHandle` itself lands here too and is judged like any other.
      verdict = judge(call, false, error)
      throw error
    } finally {
      breaker.record(permit, verdict, call.attemptStartedAt)
    }
  }
  return (call) => admitted(call, breaker.admit())
}
