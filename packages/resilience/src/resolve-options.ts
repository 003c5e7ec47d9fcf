import { choiceOption, durationOption, functionOption, invalidOption, MAX_DELAY_MS, numberOption, onlyKnown } from './option-checks.ts'
import type {
  AdaptiveOptions,
  BreakerOptions,
  BulkheadOptions,
  GradualBreakerOptions,
  HedgeOptions,
  PolicyHooks,
  PolicyOptions,
  RetryOptions,
} from './options.ts'
import type { Outcome } from './policy.ts'
import type { RateLimiter } from './rate-limit.ts'
import { TokenBudget } from './retry-budget.ts'

type Handles = (outcome: Outcome) => boolean

export interface ResolvedRetry {
  maxAttempts: number
  initialDelayMs: number
  maxDelayMs: number
  exponential: boolean
  jitter: boolean
  budget: TokenBudget | undefined
  /** Undefined: errors only. */
  shouldHandle: Handles | undefined
}
export interface ResolvedBreaker {
  failureRatio: number
  minimumThroughput: number
  samplingDurationMs: number
  /** Infinity: never. */
  consecutiveFailures: number
  /** Infinity: no call is slow. */
  slowCallDurationMs: number
  slowCallRatio: number
  breakDurationMs: number
  maxBreakDurationMs: number
  probes: number
  probeTimeoutMs: number
  recoveryMs: number
  shouldHandle: Handles | undefined
}
export interface ResolvedHedge {
  maxHedges: number
  delayMs: number | undefined
}
export interface ResolvedGradualBreaker {
  allowance: number
  minimumThroughput: number
  samplingDurationMs: number
  shouldHandle: Handles | undefined
}
export interface ResolvedAdaptive {
  minConcurrent: number
  initialConcurrent: number
}
export interface ResolvedBulkhead {
  maxConcurrent: number
  adaptive: ResolvedAdaptive | undefined
  maxQueued: number
  maxWaitMs: number
}
export interface ResolvedPolicyOptions {
  name: string | undefined
  timeoutMs: number | undefined
  attemptTimeoutMs: number | undefined
  retry: ResolvedRetry | undefined
  hedge: ResolvedHedge | undefined
  breaker: ResolvedBreaker | undefined
  /** At most one of the two. */
  gradualBreaker: ResolvedGradualBreaker | undefined
  bulkhead: ResolvedBulkhead | undefined
  rateLimit: RateLimiter | undefined
  hooks: PolicyHooks
}

const hookNames = ['onRetry', 'onGiveUp', 'onBreak', 'onHalfOpen', 'onReset', 'onReject'] as const
const policyKeys = ['name', 'timeoutMs', 'attemptTimeoutMs', 'retry', 'hedge', 'breaker', 'bulkhead', 'rateLimit', ...hookNames]
const retryKeys = ['maxAttempts', 'initialDelayMs', 'maxDelayMs', 'backoff', 'jitter', 'budget', 'shouldHandle']
const breakerKeys = [
  'kind',
  'failureRatio',
  'minimumThroughput',
  'samplingDurationMs',
  'consecutiveFailures',
  'slowCallDurationMs',
  'slowCallRatio',
  'breakDurationMs',
  'maxBreakDurationMs',
  'probes',
  'probeTimeoutMs',
  'recoveryMs',
  'shouldHandle',
]

export function resolvePolicyOptions(options: PolicyOptions): ResolvedPolicyOptions {
  onlyKnown('', options, policyKeys)
  if (options.name !== undefined && (typeof options.name !== 'string' || options.name === ''))
    throw invalidOption('name', 'must be a non-empty string')
  if (options.rateLimit !== undefined && typeof options.rateLimit?.acquire !== 'function')
    throw invalidOption('rateLimit', 'must have acquire()')
  for (const hook of hookNames) functionOption(hook, options[hook])
  const { onRetry, onGiveUp, onBreak, onHalfOpen, onReset, onReject } = options
  return {
    name: options.name,
    timeoutMs: optionalDuration('timeoutMs', options.timeoutMs),
    attemptTimeoutMs: optionalDuration('attemptTimeoutMs', options.attemptTimeoutMs),
    retry: options.retry === undefined ? undefined : resolveRetry(options.retry),
    hedge: options.hedge === undefined ? undefined : resolveHedge(options.hedge),
    breaker: options.breaker === undefined || options.breaker.kind === 'gradual' ? undefined : resolveBreaker(options.breaker),
    gradualBreaker: options.breaker?.kind === 'gradual' ? resolveGradualBreaker(options.breaker) : undefined,
    bulkhead: options.bulkhead === undefined ? undefined : resolveBulkhead(options.bulkhead),
    rateLimit: options.rateLimit,
    hooks: { onRetry, onGiveUp, onBreak, onHalfOpen, onReset, onReject },
  }
}

function optionalDuration(path: string, value: number | undefined): number | undefined {
  return value === undefined ? undefined : durationOption(path, value)
}

function resolveRetry(retry: RetryOptions): ResolvedRetry {
  onlyKnown('retry', retry, retryKeys)
  functionOption('retry.shouldHandle', retry.shouldHandle)
  const { budget } = retry
  if (budget !== undefined && !(budget instanceof TokenBudget)) throw invalidOption('retry.budget', 'must come from retryBudget()')
  const initialDelayMs = durationOption('retry.initialDelayMs', retry.initialDelayMs ?? 100, 0)
  return {
    maxAttempts: numberOption('retry.maxAttempts', retry.maxAttempts, { min: 1, integer: true }),
    initialDelayMs,
    maxDelayMs: durationOption('retry.maxDelayMs', retry.maxDelayMs ?? Math.max(10_000, initialDelayMs), initialDelayMs),
    exponential: choiceOption('retry.backoff', retry.backoff ?? 'exponential', ['exponential', 'constant']) === 'exponential',
    jitter: choiceOption('retry.jitter', retry.jitter ?? 'full', ['full', 'none']) === 'full',
    budget,
    shouldHandle: retry.shouldHandle,
  }
}

function resolveHedge(hedge: HedgeOptions): ResolvedHedge {
  onlyKnown('hedge', hedge, ['maxHedges', 'delayMs'])
  return {
    maxHedges: numberOption('hedge.maxHedges', hedge.maxHedges, { min: 1, integer: true }),
    delayMs: optionalDuration('hedge.delayMs', hedge.delayMs),
  }
}

function ratioOption(path: string, value: number): number {
  return numberOption(path, value, { min: Number.MIN_VALUE, max: 1 })
}

function resolveBreaker(breaker: BreakerOptions): ResolvedBreaker {
  onlyKnown('breaker', breaker, breakerKeys)
  choiceOption('breaker.kind', breaker.kind ?? 'window', ['window'])
  functionOption('breaker.shouldHandle', breaker.shouldHandle)
  const breakDurationMs = durationOption('breaker.breakDurationMs', breaker.breakDurationMs ?? 5000)
  return {
    failureRatio: ratioOption('breaker.failureRatio', breaker.failureRatio ?? 0.5),
    minimumThroughput: numberOption('breaker.minimumThroughput', breaker.minimumThroughput ?? 20, { min: 1, integer: true }),
    samplingDurationMs: durationOption('breaker.samplingDurationMs', breaker.samplingDurationMs ?? 10_000, 10),
    consecutiveFailures:
      breaker.consecutiveFailures === undefined
        ? Number.POSITIVE_INFINITY
        : numberOption('breaker.consecutiveFailures', breaker.consecutiveFailures, { min: 1, integer: true }),
    slowCallDurationMs:
      breaker.slowCallDurationMs === undefined
        ? Number.POSITIVE_INFINITY
        : durationOption('breaker.slowCallDurationMs', breaker.slowCallDurationMs),
    slowCallRatio: ratioOption('breaker.slowCallRatio', breaker.slowCallRatio ?? 0.5),
    breakDurationMs,
    maxBreakDurationMs: durationOption(
      'breaker.maxBreakDurationMs',
      breaker.maxBreakDurationMs ?? Math.min(MAX_DELAY_MS, breakDurationMs * 10),
      breakDurationMs,
    ),
    probes: numberOption('breaker.probes', breaker.probes ?? 1, { min: 1, integer: true }),
    probeTimeoutMs: durationOption('breaker.probeTimeoutMs', breaker.probeTimeoutMs ?? breakDurationMs),
    recoveryMs: durationOption('breaker.recoveryMs', breaker.recoveryMs ?? breakDurationMs / 5, 0),
    shouldHandle: breaker.shouldHandle,
  }
}

function resolveGradualBreaker(breaker: GradualBreakerOptions): ResolvedGradualBreaker {
  onlyKnown('breaker', breaker, ['kind', 'allowance', 'minimumThroughput', 'samplingDurationMs', 'shouldHandle'])
  functionOption('breaker.shouldHandle', breaker.shouldHandle)
  return {
    allowance: numberOption('breaker.allowance', breaker.allowance ?? 2, { min: 1 + Number.EPSILON }),
    minimumThroughput: numberOption('breaker.minimumThroughput', breaker.minimumThroughput ?? 20, { min: 1, integer: true }),
    samplingDurationMs: durationOption('breaker.samplingDurationMs', breaker.samplingDurationMs ?? 10_000, 10),
    shouldHandle: breaker.shouldHandle,
  }
}

function resolveAdaptive(adaptive: AdaptiveOptions, maxConcurrent: number): ResolvedAdaptive {
  onlyKnown('bulkhead.adaptive', adaptive, ['minConcurrent', 'initialConcurrent'])
  const range = { min: 1, max: maxConcurrent, integer: true }
  const minConcurrent = numberOption('bulkhead.adaptive.minConcurrent', adaptive.minConcurrent ?? 1, range)
  const initial = adaptive.initialConcurrent ?? Math.min(maxConcurrent, Math.max(minConcurrent, 20))
  const initialConcurrent = numberOption('bulkhead.adaptive.initialConcurrent', initial, { ...range, min: minConcurrent })
  return { minConcurrent, initialConcurrent }
}

function resolveBulkhead(bulkhead: BulkheadOptions): ResolvedBulkhead {
  onlyKnown('bulkhead', bulkhead, ['maxConcurrent', 'adaptive', 'maxQueued', 'maxWaitMs'])
  const maxConcurrent = numberOption('bulkhead.maxConcurrent', bulkhead.maxConcurrent, { min: 1, integer: true })
  return {
    maxConcurrent,
    adaptive: bulkhead.adaptive === undefined ? undefined : resolveAdaptive(bulkhead.adaptive, maxConcurrent),
    maxQueued: numberOption('bulkhead.maxQueued', bulkhead.maxQueued ?? 0, { min: 0, integer: true }),
    maxWaitMs: durationOption('bulkhead.maxWaitMs', bulkhead.maxWaitMs ?? 1000),
  }
}
