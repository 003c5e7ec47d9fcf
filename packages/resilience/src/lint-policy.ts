import type { PolicyOptions } from './options.ts'
import { resolvePolicyOptions, type ResolvedPolicyOptions } from './resolve-options.ts'
import { ownBudget } from './retry-budget.ts'

/** What `lintPolicy` can find, with what it means. */
export const policyLintCodes = {
  'attempt-timeout-never-fires': 'attemptTimeoutMs is not below timeoutMs, so that the total timeout always comes first.',
  'retries-do-not-fit': 'timeoutMs is over before the last attempts can begin when each takes its whole attemptTimeoutMs.',
  'no-time-for-a-retry': 'Without attemptTimeoutMs a hanging first attempt uses up the whole timeoutMs and nothing is retried.',
  'retry-without-idempotency': 'Every error is retried. Calls that are not idempotent must say so, or shouldHandle must choose.',
  'budget-never-refills': 'Successes pay nothing into the budget: once it is spent only the retries that time pays for are left.',
  'budget-too-small': 'The budget cannot hold the cost of a single retry.',
  'retry-after-cut-off': 'maxDelayMs is below a second: any Retry-After in seconds ends the call.',
  'hedge-after-timeout': 'A hedge would be sent when its attempt or call is over already.',
  'break-shorter-than-backoff': 'The longest backoff outlasts a whole break.',
  'probe-lease-shorter-than-attempt': 'A probe counts as failed before its own attempt timeout.',
  'slow-call-after-timeout': 'slowCallDurationMs is not below the timeout of an attempt: such calls have failed already.',
  'window-too-thin': 'samplingDurationMs is shorter than one attempt may take: results arrive when the window has moved on.',
  'queue-outlasts-timeout': 'maxWaitMs is not below timeoutMs: a call can spend all its time in the queue.',
  'no-timeout': 'Nothing ends a call that hangs, so that its bulkhead slot or probe is bound to the dependency.',
} as const

export type PolicyLintCode = keyof typeof policyLintCodes

export interface PolicyLint {
  readonly code: PolicyLintCode
  /** Path of the option to change. */
  readonly option: string
  /** The conflict with its values. */
  readonly message: string
}

/** Values that are each allowed and do not fit each other. Throws like `createPolicy` when one is not allowed at all. */
export function lintPolicy(options: PolicyOptions): PolicyLint[] {
  const policy = resolvePolicyOptions(options)
  return [...timeouts(policy), ...retries(policy), ...hedges(policy), ...breakers(policy), ...bulkheads(policy)]
}

function lint(code: PolicyLintCode, option: string, values: string): PolicyLint {
  return { code, option, message: `${policyLintCodes[code]} (${values})` }
}

function* timeouts({ timeoutMs, attemptTimeoutMs, bulkhead, breaker }: ResolvedPolicyOptions): Generator<PolicyLint> {
  if (timeoutMs !== undefined && attemptTimeoutMs !== undefined && attemptTimeoutMs >= timeoutMs)
    yield lint('attempt-timeout-never-fires', 'attemptTimeoutMs', `${attemptTimeoutMs} of ${timeoutMs} ms`)
  if (timeoutMs === undefined && attemptTimeoutMs === undefined && (bulkhead ?? breaker) !== undefined)
    yield lint('no-timeout', 'timeoutMs', 'neither timeoutMs nor attemptTimeoutMs')
}

function* retries({ timeoutMs, attemptTimeoutMs, retry, breaker }: ResolvedPolicyOptions): Generator<PolicyLint> {
  if (retry === undefined || retry.maxAttempts === 1) return
  const { maxAttempts, maxDelayMs, budget = ownBudget() } = retry
  if (timeoutMs !== undefined && attemptTimeoutMs === undefined)
    yield lint('no-time-for-a-retry', 'attemptTimeoutMs', `timeoutMs ${timeoutMs}`)
  if (timeoutMs !== undefined && attemptTimeoutMs !== undefined) {
    let beginsMs = 0
    for (let round = 1; round < maxAttempts; round++) {
      const delayMs = Math.min(maxDelayMs, retry.exponential ? retry.initialDelayMs * 2 ** (round - 1) : retry.initialDelayMs)
      beginsMs += attemptTimeoutMs + (retry.jitter ? delayMs / 2 : delayMs)
    }
    if (beginsMs >= timeoutMs)
      yield lint(
        'retries-do-not-fit',
        'retry.maxAttempts',
        `attempt ${maxAttempts} would begin after ${Math.round(beginsMs)} of ${timeoutMs} ms`,
      )
  }
  if (retry.shouldHandle === undefined) yield lint('retry-without-idempotency', 'retry.shouldHandle', `maxAttempts ${maxAttempts}`)
  if (budget.capacity < budget.retryCost) yield lint('budget-too-small', 'retry.budget', `${budget.capacity} of ${budget.retryCost} tokens`)
  else if (budget.refillPerSuccess === 0) yield lint('budget-never-refills', 'retry.budget', 'refillPerSuccess 0')
  if (maxDelayMs < 1000) yield lint('retry-after-cut-off', 'retry.maxDelayMs', `${maxDelayMs} ms`)
  if (breaker !== undefined && maxDelayMs > breaker.maxBreakDurationMs)
    yield lint(
      'break-shorter-than-backoff',
      'retry.maxDelayMs',
      `${maxDelayMs} ms after a break of at most ${breaker.maxBreakDurationMs} ms`,
    )
}

function* hedges({ timeoutMs, attemptTimeoutMs, hedge }: ResolvedPolicyOptions): Generator<PolicyLint> {
  const limitMs = Math.min(timeoutMs ?? Number.POSITIVE_INFINITY, attemptTimeoutMs ?? Number.POSITIVE_INFINITY)
  if (hedge?.delayMs !== undefined && hedge.delayMs >= limitMs)
    yield lint('hedge-after-timeout', 'hedge.delayMs', `${hedge.delayMs} of ${limitMs} ms`)
}

function* breakers({ timeoutMs, attemptTimeoutMs, breaker }: ResolvedPolicyOptions): Generator<PolicyLint> {
  const attemptMs = attemptTimeoutMs ?? timeoutMs
  if (breaker === undefined || attemptMs === undefined) return
  if (breaker.probeTimeoutMs < attemptMs)
    yield lint('probe-lease-shorter-than-attempt', 'breaker.probeTimeoutMs', `${breaker.probeTimeoutMs} of ${attemptMs} ms`)
  if (Number.isFinite(breaker.slowCallDurationMs) && breaker.slowCallDurationMs >= attemptMs)
    yield lint('slow-call-after-timeout', 'breaker.slowCallDurationMs', `${breaker.slowCallDurationMs} of ${attemptMs} ms`)
  if (breaker.samplingDurationMs <= attemptMs)
    yield lint('window-too-thin', 'breaker.samplingDurationMs', `${breaker.samplingDurationMs} for attempts of ${attemptMs} ms`)
}

function* bulkheads({ timeoutMs, bulkhead }: ResolvedPolicyOptions): Generator<PolicyLint> {
  if (bulkhead !== undefined && bulkhead.maxQueued > 0 && timeoutMs !== undefined && bulkhead.maxWaitMs >= timeoutMs)
    yield lint('queue-outlasts-timeout', 'bulkhead.maxWaitMs', `${bulkhead.maxWaitMs} of ${timeoutMs} ms`)
}
