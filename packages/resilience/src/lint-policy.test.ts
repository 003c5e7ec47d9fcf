import { describe, expect, it } from 'vitest'
import { lintPolicy, type PolicyLintCode, type PolicyOptions, retryBudget } from './index.ts'

const shouldHandle = () => true
const retry = { maxAttempts: 3, shouldHandle }
const codes = (options: PolicyOptions) => lintPolicy(options).map(({ code }) => code)

const conflicts: Record<PolicyLintCode, [option: string, wrong: PolicyOptions, right: PolicyOptions]> = {
  'attempt-timeout-never-fires': ['attemptTimeoutMs', { timeoutMs: 500, attemptTimeoutMs: 500 }, { timeoutMs: 500, attemptTimeoutMs: 499 }],
  'retries-do-not-fit': [
    'retry.maxAttempts',
    { timeoutMs: 1000, attemptTimeoutMs: 500, retry },
    { timeoutMs: 2000, attemptTimeoutMs: 500, retry },
  ],
  'no-time-for-a-retry': ['attemptTimeoutMs', { timeoutMs: 1000, retry }, { timeoutMs: 5000, attemptTimeoutMs: 1000, retry }],
  'retry-without-idempotency': ['retry.shouldHandle', { retry: { maxAttempts: 2 } }, { retry }],
  'budget-never-refills': [
    'retry.budget',
    { retry: { ...retry, budget: retryBudget({ refillPerSuccess: 0 }) } },
    { retry: { ...retry, budget: retryBudget() } },
  ],
  'budget-too-small': ['retry.budget', { retry: { ...retry, budget: retryBudget({ capacity: 13 }) } }, { retry }],
  'retry-after-cut-off': ['retry.maxDelayMs', { retry: { ...retry, maxDelayMs: 500 } }, { retry: { ...retry, maxDelayMs: 1000 } }],
  'hedge-after-timeout': [
    'hedge.delayMs',
    { attemptTimeoutMs: 100, hedge: { maxHedges: 1, delayMs: 100 } },
    { attemptTimeoutMs: 100, hedge: { maxHedges: 1 } },
  ],
  'break-shorter-than-backoff': [
    'retry.maxDelayMs',
    { attemptTimeoutMs: 10, retry, breaker: { breakDurationMs: 900 } },
    { attemptTimeoutMs: 10, retry, breaker: {} },
  ],
  'probe-lease-shorter-than-attempt': [
    'breaker.probeTimeoutMs',
    { attemptTimeoutMs: 1000, breaker: { probeTimeoutMs: 500 } },
    { attemptTimeoutMs: 1000, breaker: {} },
  ],
  'slow-call-after-timeout': [
    'breaker.slowCallDurationMs',
    { attemptTimeoutMs: 100, breaker: { slowCallDurationMs: 100 } },
    { attemptTimeoutMs: 100, breaker: { slowCallDurationMs: 50 } },
  ],
  'window-too-thin': [
    'breaker.samplingDurationMs',
    { attemptTimeoutMs: 5000, breaker: { samplingDurationMs: 5000 } },
    { attemptTimeoutMs: 4000, breaker: { samplingDurationMs: 5000 } },
  ],
  'queue-outlasts-timeout': [
    'bulkhead.maxWaitMs',
    { timeoutMs: 1000, bulkhead: { maxConcurrent: 1, maxQueued: 1 } },
    { timeoutMs: 1001, bulkhead: { maxConcurrent: 1, maxQueued: 1 } },
  ],
  'no-timeout': ['timeoutMs', { bulkhead: { maxConcurrent: 1 } }, { timeoutMs: 1, bulkhead: { maxConcurrent: 1 } }],
}

describe('lintPolicy', () => {
  it.each(Object.entries(conflicts))('finds %s and is content without it', (code, [option, wrong, right]) => {
    expect(lintPolicy(wrong)).toEqual([{ code, option, message: expect.stringMatching(/\. \(.+\)$/) }])
    expect(codes(right)).not.toContain(code)
  })

  it('is content with the defaults of a complete policy, and throws for what createPolicy would refuse', () => {
    const complete: PolicyOptions = { timeoutMs: 10_000, attemptTimeoutMs: 1000, retry, hedge: { maxHedges: 1 }, breaker: {} }
    expect(lintPolicy({ ...complete, bulkhead: { maxConcurrent: 5, maxQueued: 5 } })).toEqual([])
    expect(() => lintPolicy({ timeoutMs: -1 })).toThrow('timeoutMs')
  })
})
