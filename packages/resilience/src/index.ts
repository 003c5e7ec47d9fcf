export type { Breaker, Permit, Transition } from './breaker.ts'
export { createPolicy, type LivePolicyOptions } from './create-policy.ts'
export { ATTEMPT_HEADER, DEADLINE_HEADER, deadlineHeaders, deadlineHook, withDeadline, withoutDeadline } from './deadline.ts'
export { ResilienceError, type ResilienceErrorCode, resilienceErrorCodes, type ResilienceErrorFacts } from './errors.ts'
export { lintPolicy, type PolicyLint, type PolicyLintCode, policyLintCodes } from './lint-policy.ts'
export { noopPolicy } from './noop-policy.ts'
export { provesNotSent } from './not-sent.ts'
export type {
  AdaptiveOptions,
  BreakerOptions,
  BulkheadOptions,
  GiveUpReason,
  GradualBreakerOptions,
  HedgeOptions,
  PolicyHooks,
  PolicyOptions,
  RetryOptions,
} from './options.ts'
export type { Attempt, BreakerState, ExecuteOptions, Outcome, Policy, PolicyStats } from './policy.ts'
export { createPolicyGroup, type PolicyGroup, type PolicyGroupOptions } from './policy-group.ts'
export type { KeyedRateLimiter, RateDecision, RateLimiter } from './rate-limit.ts'
export { memoryRateLimiter, type MemoryRateLimiterOptions } from './rate-limits/memory.ts'
export { type RetryBudget, type RetryBudgetOptions, retryBudget } from './retry-budget.ts'
export { type SingleFlight, singleFlight } from './single-flight.ts'
export { isSlowFor, type Verdict } from './verdict.ts'
