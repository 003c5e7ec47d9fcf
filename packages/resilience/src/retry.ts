import type { Call, Next } from './call.ts'
import { isLocalRejection } from './errors.ts'
import { callHook } from './hooks.ts'
import { instruments } from './instrumentation.ts'
import { provesNotSent } from './not-sent.ts'
import type { GiveUpReason, PolicyHooks } from './options.ts'
import type { Outcome } from './policy.ts'
import type { ResolvedRetry } from './resolve-options.ts'
import { retryAfterMs } from './retry-after.ts'
import type { TokenBudget } from './retry-budget.ts'

interface RetryLayer {
  retry: ResolvedRetry
  budget: TokenBudget
  hooks: PolicyHooks
  attributes: Record<string, string>
}

/** A round is one attempt with its hedges. */
export function retryLayer({ retry, budget, hooks, attributes }: RetryLayer, next: Next): Next {
  const rounds = async (call: Call, first: Promise<unknown>): Promise<unknown> => {
    let previous: Outcome | undefined
    for (let round = 1; ; round++) {
      let outcome: Outcome
      try {
        outcome = { ok: true, value: await (round === 1 ? first : next(call)) }
      } catch (error) {
        outcome = { ok: false, error }
        // The call was sent before: its answer tells more than this refusal, which claims that nothing was.
        if (isLocalRejection(error)) return unwrap(previous ?? outcome)
      }
      if (call.cancelled !== undefined) return unwrap(outcome)
      if (!(retry.shouldHandle === undefined ? !outcome.ok : retry.shouldHandle(outcome))) {
        if (outcome.ok) budget.succeeded(round > 1)
        return unwrap(outcome)
      }
      const delayMs = nextDelayMs(retry, round, outcome)
      const reason = whyGiveUp(retry, budget, call, round, outcome, delayMs)
      if (reason !== undefined) {
        callHook(hooks.onGiveUp, { attempt: round, reason, outcome })
        return unwrap(outcome)
      }
      instruments().retries.add(1, attributes)
      callHook(hooks.onRetry, { attempt: round, delayMs, outcome })
      call.throwIfCancelled()
      await call.sleep(delayMs)
      previous = outcome
    }
  }
  // A refusal of the first round is thrown right through.
  return (call) => rounds(call, next(call))
}

function unwrap(outcome: Outcome): unknown {
  if (outcome.ok) return outcome.value
  throw outcome.error
}

function nextDelayMs(retry: ResolvedRetry, round: number, outcome: Outcome): number {
  const fullMs = Math.min(retry.maxDelayMs, retry.exponential ? retry.initialDelayMs * 2 ** (round - 1) : retry.initialDelayMs)
  const backoffMs = retry.jitter ? Math.random() * fullMs : fullMs
  return Math.max(backoffMs, retryAfterMs(outcome) ?? 0)
}

function whyGiveUp(
  retry: ResolvedRetry,
  budget: TokenBudget,
  call: Call,
  round: number,
  outcome: Outcome,
  delayMs: number,
): GiveUpReason | undefined {
  if (round >= retry.maxAttempts) return 'attempts'
  if (!call.mayRetry) return 'disabled'
  if (call.inheritedAttempt > 1) return 'nested'
  if (!call.idempotent && (outcome.ok || !provesNotSent(outcome.error))) return 'not-idempotent'
  if (delayMs > retry.maxDelayMs) return 'retry-after'
  if (call.deadlineAt !== undefined && performance.now() + delayMs >= call.deadlineAt) return 'deadline'
  return budget.take() ? undefined : 'budget'
}
