import { choiceOption, durationOption, functionOption, invalidOption, numberOption, onlyKnown } from './option-checks.ts'
import type { Outcome } from './policy.ts'
import type { RateLimiter } from './rate-limit.ts'
import { type RetryBudget, TokenBudget } from './retry-budget.ts'

export interface RetryOptions {
  /** Tries including the first, at least 1. */
  maxAttempts: number
  /** Default 100. */
  initialDelayMs?: number | undefined
  /** Longest wait between attempts. A Retry-After beyond it ends the call instead of being cut short. Default 10,000. */
  maxDelayMs?: number | undefined
  /** Default 'exponential' (doubling). */
  backoff?: 'exponential' | 'constant' | undefined
  /** 'full': a random part of the delay, so that callers do not come back together. Default 'full'. */
  jitter?: 'full' | 'none' | undefined
  /** Default: one of this policy's own with the defaults of `retryBudget()`. */
  budget?: RetryBudget | undefined
  /** Which outcomes are tried again. Default: every error. Local rejections and the caller's abort never are. */
  shouldHandle?: ((outcome: Outcome) => boolean) | undefined
}

export interface BreakerOptions {
  /** Failed part of the finished calls of the window at which it opens, above 0 up to 1. Default 0.5. */
  failureRatio?: number | undefined
  /** Finished calls that the window must hold before the ratio counts, at least 1. Default 20. */
  minimumThroughput?: number | undefined
  /** Length of the window, at least 10. Default 10,000. */
  samplingDurationMs?: number | undefined
  /** Default 5000. */
  breakDurationMs?: number | undefined
  /** Calls let through in half-open; all must succeed to close. Default 1. */
  probes?: number | undefined
  /** A probe without a result after this time counts as failed. Default: `breakDurationMs`. */
  probeTimeoutMs?: number | undefined
  /** Which outcomes count as failure. Default: every error. Local rejections and the caller's abort never count. */
  shouldHandle?: ((outcome: Outcome) => boolean) | undefined
}

export interface BulkheadOptions {
  /** Work that may run at once, at least 1. A slot is free again when the work has really settled. */
  maxConcurrent: number
  /** Calls that may wait. Default 0. */
  maxQueued?: number | undefined
  /** Longest wait. Default 1000. */
  maxWaitMs?: number | undefined
}

/** Called in line; an error they throw becomes a process warning and does not touch the call. */
export interface PolicyHooks {
  onRetry?: ((event: { attempt: number; delayMs: number; outcome: Outcome }) => void) | undefined
  onGiveUp?: ((event: { attempt: number; reason: GiveUpReason; outcome: Outcome }) => void) | undefined
  onBreak?: ((event: { breakDurationMs: number }) => void) | undefined
  onHalfOpen?: (() => void) | undefined
  onReset?: (() => void) | undefined
  onReject?: ((event: { code: string }) => void) | undefined
}

/** Why an outcome that should be handled was not tried again. */
export type GiveUpReason = 'attempts' | 'budget' | 'deadline' | 'disabled' | 'not-idempotent' | 'nested' | 'retry-after'

export interface PolicyOptions extends PolicyHooks {
  /** Label in metrics and errors, and the key for `rateLimit`. Cannot change. Default 'default'. */
  name?: string | undefined
  /** Limit of the whole call with all attempts and waits. Default: none. */
  timeoutMs?: number | undefined
  /** Limit of each attempt. Default: none. */
  attemptTimeoutMs?: number | undefined
  retry?: RetryOptions | undefined
  breaker?: BreakerOptions | undefined
  bulkhead?: BulkheadOptions | undefined
  rateLimit?: RateLimiter | undefined
}

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
  breakDurationMs: number
  probes: number
  probeTimeoutMs: number
  shouldHandle: Handles | undefined
}
export interface ResolvedBulkhead {
  maxConcurrent: number
  maxQueued: number
  maxWaitMs: number
}
export interface ResolvedPolicyOptions {
  name: string | undefined
  timeoutMs: number | undefined
  attemptTimeoutMs: number | undefined
  retry: ResolvedRetry | undefined
  breaker: ResolvedBreaker | undefined
  bulkhead: ResolvedBulkhead | undefined
  rateLimit: RateLimiter | undefined
  hooks: PolicyHooks
}

const hookNames = ['onRetry', 'onGiveUp', 'onBreak', 'onHalfOpen', 'onReset', 'onReject'] as const
const policyKeys = ['name', 'timeoutMs', 'attemptTimeoutMs', 'retry', 'breaker', 'bulkhead', 'rateLimit', ...hookNames]
const retryKeys = ['maxAttempts', 'initialDelayMs', 'maxDelayMs', 'backoff', 'jitter', 'budget', 'shouldHandle']
const breakerKeys = [
  'failureRatio',
  'minimumThroughput',
  'samplingDurationMs',
  'breakDurationMs',
  'probes',
  'probeTimeoutMs',
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
    breaker: options.breaker === undefined ? undefined : resolveBreaker(options.breaker),
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

function resolveBreaker(breaker: BreakerOptions): ResolvedBreaker {
  onlyKnown('breaker', breaker, breakerKeys)
  functionOption('breaker.shouldHandle', breaker.shouldHandle)
  const breakDurationMs = durationOption('breaker.breakDurationMs', breaker.breakDurationMs ?? 5000)
  return {
    failureRatio: numberOption('breaker.failureRatio', breaker.failureRatio ?? 0.5, { min: Number.MIN_VALUE, max: 1 }),
    minimumThroughput: numberOption('breaker.minimumThroughput', breaker.minimumThroughput ?? 20, { min: 1, integer: true }),
    samplingDurationMs: durationOption('breaker.samplingDurationMs', breaker.samplingDurationMs ?? 10_000, 10),
    breakDurationMs,
    probes: numberOption('breaker.probes', breaker.probes ?? 1, { min: 1, integer: true }),
    probeTimeoutMs: durationOption('breaker.probeTimeoutMs', breaker.probeTimeoutMs ?? breakDurationMs),
    shouldHandle: breaker.shouldHandle,
  }
}

function resolveBulkhead(bulkhead: BulkheadOptions): ResolvedBulkhead {
  onlyKnown('bulkhead', bulkhead, ['maxConcurrent', 'maxQueued', 'maxWaitMs'])
  return {
    maxConcurrent: numberOption('bulkhead.maxConcurrent', bulkhead.maxConcurrent, { min: 1, integer: true }),
    maxQueued: numberOption('bulkhead.maxQueued', bulkhead.maxQueued ?? 0, { min: 0, integer: true }),
    maxWaitMs: durationOption('bulkhead.maxWaitMs', bulkhead.maxWaitMs ?? 1000),
  }
}
