import type { Breaker, Permit } from './breaker.ts'
import type { Call, Next } from './call.ts'
import type { Outcome } from './policy.ts'
import type { Verdict } from './verdict.ts'

export function breakerLayer(breaker: Breaker, next: Next): Next {
  const admitted = async (call: Call, permit: Permit): Promise<unknown> => {
    call.verdict = 'not-wanted'
    call.endedAt = undefined
    let verdict: Verdict = 'not-wanted'
    try {
      const value = await next(call)
      verdict = judge(breaker, call.verdict, true, value)
      return value
    } catch (error) {
      // An error of `shouldHandle` itself lands here too and is judged like any other.
      verdict = judge(breaker, call.verdict, false, error)
      throw error
    } finally {
      breaker.record(permit, verdict, call.tookMs, call.endedAt)
    }
  }
  return (call) => admitted(call, breaker.admit())
}

/** `shouldHandle` says which results and errors are failures; who came to no result is not asked. */
function judge(breaker: Breaker, verdict: Verdict, ok: boolean, result: unknown): Verdict {
  if (verdict === 'not-wanted' || verdict === 'stalled' || verdict === 'too-slow') return verdict
  const { shouldHandle } = breaker.settings
  const outcome: Outcome = ok ? { ok, value: result } : { ok, error: result }
  if (!(shouldHandle === undefined ? !ok : shouldHandle(outcome))) return 'answered'
  return verdict === 'answered' ? 'failed' : verdict
}
