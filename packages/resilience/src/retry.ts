import { backoffMs } from '@platform/kernel'
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
import { verdictOfError } from './verdict.ts'

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
      const sent = call.attempt
      let outcome: Outcome
      try {
        outcome = { ok: true, value: await (round === 1 ? first : next(call)) }
      } catch (error) {
        outcome = { ok: false, error }
        if (round > 1 && wasNotSent(call, sent, error)) budget.giveBack()
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
      try {
        call.throwIfCancelled()
        await call.sleep(delayMs)
      } catch (error) {
        budget.giveBack()
        throw error
      }
      previous = outcome
    }
  }
  // A refusal of the first round is thrown right through.
  return (call) => rounds(call, next(call))
}

/** A round that was refused here, or whose every attempt proves that nothing left. */
function wasNotSent(call: Call, sent: number, error: unknown): boolean {
  return call.attempt === sent || verdictOfError(error, 0) === 'not-sent'
}

function unwrap(outcome: Outcome): unknown {
  if (outcome.ok) return outcome.value
  throw outcome.error
}

function nextDelayMs(retry: ResolvedRetry, round: number, outcome: Outcome): number {
  if (retry.elsewhere(outcome)) return Math.random() * retry.initialDelayMs
  const random = retry.jitter ? Math.random : () => 1
  const ownMs = backoffMs(retry.exponential ? round : 1, retry.initialDelayMs, retry.maxDelayMs, random)
  const askedMs = retryAfterMs(outcome.ok ? outcome.value : outcome.error)
  if (askedMs === undefined || askedMs <= ownMs) return ownMs
  // All that were asked to come back at one moment must not come at once.
  return retry.jitter && askedMs <= retry.maxDelayMs ? Math.min(retry.maxDelayMs, askedMs + Math.random() * retry.initialDelayMs) : askedMs
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
