import { choiceOption, durationOption, functionOption, integerOption, knownOptions, longestTimerMs, numberOption } from '@platform/kernel'
import type { Breaker } from './breaker.ts'
import { refuseOption as refuse } from './errors.ts'
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
  elsewhere: Handles
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
  gradualBreaker: ResolvedGradualBreaker | undefined
  /** At most one of the three. */
  givenBreaker: Breaker | undefined
  bulkhead: ResolvedBulkhead | undefined
  rateLimit: RateLimiter | undefined
  hooks: PolicyHooks
}

const hookNames = ['onRetry', 'onGiveUp', 'onBreak', 'onHalfOpen', 'onReset', 'onReject'] as const
const policyKeys = ['name', 'timeoutMs', 'attemptTimeoutMs', 'retry', 'hedge', 'breaker', 'bulkhead', 'rateLimit', ...hookNames]
const retryKeys = ['maxAttempts', 'initialDelayMs', 'maxDelayMs', 'backoff', 'jitter', 'budget', 'shouldHandle', 'elsewhere']
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
  knownOptions(refuse, '', options, policyKeys)
  if (options.name !== undefined && (typeof options.name !== 'string' || options.name === ''))
    throw refuse('name', 'must be a non-empty string')
  if (options.rateLimit !== undefined && typeof options.rateLimit?.acquire !== 'function') throw refuse('rateLimit', 'must have acquire()')
  for (const hook of hookNames) functionOption(refuse, hook, options[hook])
  const { onRetry, onGiveUp, onBreak, onHalfOpen, onReset, onReject } = options
  return {
    name: options.name,
    timeoutMs: optionalDuration('timeoutMs', options.timeoutMs),
    attemptTimeoutMs: optionalDuration('attemptTimeoutMs', options.attemptTimeoutMs),
    retry: options.retry === undefined ? undefined : resolveRetry(options.retry),
    hedge: options.hedge === undefined ? undefined : resolveHedge(options.hedge),
    ...resolveAnyBreaker(options.breaker),
    bulkhead: options.bulkhead === undefined ? undefined : resolveBulkhead(options.bulkhead),
    rateLimit: options.rateLimit,
    hooks: { onRetry, onGiveUp, onBreak, onHalfOpen, onReset, onReject },
  }
}

function optionalDuration(path: string, value: number | undefined): number | undefined {
  return value === undefined ? undefined : durationOption(refuse, path, value, 1)
}

function resolveRetry(retry: RetryOptions): ResolvedRetry {
  knownOptions(refuse, 'retry', retry, retryKeys)
  functionOption(refuse, 'retry.shouldHandle', retry.shouldHandle)
  functionOption(refuse, 'retry.elsewhere', retry.elsewhere)
  const { budget } = retry
  if (budget !== undefined && !(budget instanceof TokenBudget)) throw refuse('retry.budget', 'must come from retryBudget()')
  const initialDelayMs = durationOption(refuse, 'retry.initialDelayMs', retry.initialDelayMs ?? 100, 0)
  return {
    maxAttempts: integerOption(refuse, 'retry.maxAttempts', retry.maxAttempts, 1),
    initialDelayMs,
    maxDelayMs: durationOption(refuse, 'retry.maxDelayMs', retry.maxDelayMs ?? Math.max(10_000, initialDelayMs), initialDelayMs),
    exponential: choiceOption(refuse, 'retry.backoff', retry.backoff ?? 'exponential', ['exponential', 'constant']) === 'exponential',
    jitter: choiceOption(refuse, 'retry.jitter', retry.jitter ?? 'full', ['full', 'none']) === 'full',
    budget,
    shouldHandle: retry.shouldHandle,
    elsewhere: retry.elsewhere ?? (() => false),
  }
}

function resolveHedge(hedge: HedgeOptions): ResolvedHedge {
  knownOptions(refuse, 'hedge', hedge, ['maxHedges', 'delayMs'])
  return {
    maxHedges: integerOption(refuse, 'hedge.maxHedges', hedge.maxHedges, 1),
    delayMs: optionalDuration('hedge.delayMs', hedge.delayMs),
  }
}

function ratioOption(path: string, value: number): number {
  return numberOption(refuse, path, value, Number.MIN_VALUE, 1)
}

function resolveAnyBreaker(given: PolicyOptions['breaker']): Pick<ResolvedPolicyOptions, 'breaker' | 'gradualBreaker' | 'givenBreaker'> {
  const none = { breaker: undefined, gradualBreaker: undefined, givenBreaker: undefined }
  if (given === undefined) return none
  if (isBreaker(given)) return { ...none, givenBreaker: given }
  if (given?.kind === 'gradual') return { ...none, gradualBreaker: resolveGradualBreaker(given) }
  return { ...none, breaker: resolveBreaker(given) }
}

function isBreaker(given: NonNullable<PolicyOptions['breaker']>): given is Breaker {
  return typeof (given as Partial<Breaker> | null)?.admit === 'function'
}

function resolveBreaker(breaker: BreakerOptions): ResolvedBreaker {
  knownOptions(refuse, 'breaker', breaker, breakerKeys)
  choiceOption(refuse, 'breaker.kind', breaker.kind ?? 'window', ['window'])
  functionOption(refuse, 'breaker.shouldHandle', breaker.shouldHandle)
  const breakDurationMs = durationOption(refuse, 'breaker.breakDurationMs', breaker.breakDurationMs ?? 5000, 1)
  return {
    failureRatio: ratioOption('breaker.failureRatio', breaker.failureRatio ?? 0.5),
    minimumThroughput: integerOption(refuse, 'breaker.minimumThroughput', breaker.minimumThroughput ?? 20, 1),
    samplingDurationMs: durationOption(refuse, 'breaker.samplingDurationMs', breaker.samplingDurationMs ?? 10_000, 10),
    consecutiveFailures:
      breaker.consecutiveFailures === undefined
        ? Number.POSITIVE_INFINITY
        : integerOption(refuse, 'breaker.consecutiveFailures', breaker.consecutiveFailures, 1),
    slowCallDurationMs:
      breaker.slowCallDurationMs === undefined
        ? Number.POSITIVE_INFINITY
        : durationOption(refuse, 'breaker.slowCallDurationMs', breaker.slowCallDurationMs, 1),
    slowCallRatio: ratioOption('breaker.slowCallRatio', breaker.slowCallRatio ?? 0.5),
    breakDurationMs,
    maxBreakDurationMs: durationOption(
      refuse,
      'breaker.maxBreakDurationMs',
      breaker.maxBreakDurationMs ?? Math.min(longestTimerMs, breakDurationMs * 10),
      breakDurationMs,
    ),
    probes: integerOption(refuse, 'breaker.probes', breaker.probes ?? 1, 1),
    probeTimeoutMs: durationOption(refuse, 'breaker.probeTimeoutMs', breaker.probeTimeoutMs ?? breakDurationMs, 1),
    recoveryMs: durationOption(refuse, 'breaker.recoveryMs', breaker.recoveryMs ?? breakDurationMs / 5, 0),
    shouldHandle: breaker.shouldHandle,
  }
}

function resolveGradualBreaker(breaker: GradualBreakerOptions): ResolvedGradualBreaker {
  knownOptions(refuse, 'breaker', breaker, ['kind', 'allowance', 'minimumThroughput', 'samplingDurationMs', 'shouldHandle'])
  functionOption(refuse, 'breaker.shouldHandle', breaker.shouldHandle)
  return {
    allowance: numberOption(refuse, 'breaker.allowance', breaker.allowance ?? 2, 1 + Number.EPSILON),
    minimumThroughput: integerOption(refuse, 'breaker.minimumThroughput', breaker.minimumThroughput ?? 20, 1),
    samplingDurationMs: durationOption(refuse, 'breaker.samplingDurationMs', breaker.samplingDurationMs ?? 10_000, 10),
    shouldHandle: breaker.shouldHandle,
  }
}

function resolveAdaptive(adaptive: AdaptiveOptions, maxConcurrent: number): ResolvedAdaptive {
  knownOptions(refuse, 'bulkhead.adaptive', adaptive, ['minConcurrent', 'initialConcurrent'])
  const minConcurrent = integerOption(refuse, 'bulkhead.adaptive.minConcurrent', adaptive.minConcurrent ?? 1, 1, maxConcurrent)
  const initial = adaptive.initialConcurrent ?? Math.min(maxConcurrent, Math.max(minConcurrent, 20))
  const initialConcurrent = integerOption(refuse, 'bulkhead.adaptive.initialConcurrent', initial, minConcurrent, maxConcurrent)
  return { minConcurrent, initialConcurrent }
}

function resolveBulkhead(bulkhead: BulkheadOptions): ResolvedBulkhead {
  knownOptions(refuse, 'bulkhead', bulkhead, ['maxConcurrent', 'adaptive', 'maxQueued', 'maxWaitMs'])
  const maxConcurrent = integerOption(refuse, 'bulkhead.maxConcurrent', bulkhead.maxConcurrent, 1)
  return {
    maxConcurrent,
    adaptive: bulkhead.adaptive === undefined ? undefined : resolveAdaptive(bulkhead.adaptive, maxConcurrent),
    maxQueued: integerOption(refuse, 'bulkhead.maxQueued', bulkhead.maxQueued ?? 0, 0),
    maxWaitMs: durationOption(refuse, 'bulkhead.maxWaitMs', bulkhead.maxWaitMs ?? 1000, 1),
  }
}
