import type { Call, Next } from './call.ts'
import { isLocalRejection } from './errors.ts'
import { callHook } from './hooks.ts'
import { instruments } from './instrumentation.ts'
import { provesNotSent } from './not-sent.ts'
import type { GiveUpReason, PolicyHooks, ResolvedRetry } from './options.ts'
import type { Outcome } from './policy.ts'
import { retryAfterMs } from './retry-after.ts'
import type { TokenBudget } from './retry-budget.ts'

interface RetryLayer {
  retry: ResolvedRetry
  budget: TokenBudget
  hooks: PolicyHooks
  attributes: Record<string, string>
}

export function retryLayer({ retry, budget, hooks, attributes }: RetryLayer, next: Next): Next {
  return async (call) => {
    let previous: Outcome | undefined
    for (;;) {
      call.attempt++
      const outcome = await outcomeOf(next, call)
      // The call was sent before: its answer tells more than this refusal, which claims that nothing was.
      if (previous !== undefined && !outcome.ok && isLocalRejection(outcome.error)) return unwrap(previous)
      if (!shouldHandle(retry, call, outcome)) {
        if (outcome.ok) budget.succeeded(call.attempt > 1)
        return unwrap(outcome)
      }
      const delayMs = nextDelayMs(retry, call.attempt, outcome)
      const reason = whyGiveUp(retry, budget, call, outcome, delayMs)
      if (reason !== undefined) {
        callHook(hooks.onGiveUp, { attempt: call.attempt, reason, outcome })
        return unwrap(outcome)
      }
      instruments().retries.add(1, attributes)
      callHook(hooks.onRetry, { attempt: call.attempt, delayMs, outcome })
      call.throwIfCancelled()
      await call.sleep(delayMs)
      previous = outcome
    }
  }
}

async function outcomeOf(next: Next, call: Call): Promise<Outcome> {
  try {
    return { ok: true, value: await next(call) }
  } catch (error) {
    return { ok: false, error }
  }
}

function unwrap(outcome: Outcome): unknown {
  if (outcome.ok) return outcome.value
  throw outcome.error
}

function shouldHandle(retry: ResolvedRetry, call: Call, outcome: Outcome): boolean {
  if (call.cancelled !== undefined || (!outcome.ok && isLocalRejection(outcome.error))) return false
  return retry.shouldHandle === undefined ? !outcome.ok : retry.shouldHandle(outcome)
}

function nextDelayMs(retry: ResolvedRetry, attempt: number, outcome: Outcome): number {
  const fullMs = Math.min(retry.maxDelayMs, retry.exponential ? retry.initialDelayMs * 2 ** (attempt - 1) : retry.initialDelayMs)
  const backoffMs = retry.jitter ? Math.random() * fullMs : fullMs
  return Math.max(backoffMs, retryAfterMs(outcome) ?? 0)
}

function whyGiveUp(retry: ResolvedRetry, budget: TokenBudget, call: Call, outcome: Outcome, delayMs: number): GiveUpReason | undefined {
  if (call.attempt >= retry.maxAttempts) return 'attempts'
  if (!call.mayRetry) return 'disabled'
  if (call.inheritedAttempt > 1) return 'nested'
  if (!call.idempotent && (outcome.ok || !provesNotSent(outcome.error))) return 'not-idempotent'
  if (delayMs > retry.maxDelayMs) return 'retry-after'
  if (call.deadlineAt !== undefined && performance.now() + delayMs >= call.deadlineAt) return 'deadline'
  return budget.take() ? undefined : 'budget'
}
