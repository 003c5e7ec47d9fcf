import { describe, expect, it } from 'vitest'
import { backoffMs, exhaustedBefore, judgeFailure, PermanentFailure, resolveRetry } from './retry.ts'

const policy = resolveRetry({ maxAttempts: 4, initialDelayMs: 100, maxDelayMs: 500 })

describe('retry', () => {
  it('doubles the upper bound of the pause up to the maximum', () => {
    expect([1, 2, 3, 4, 60].map((attempt) => backoffMs(attempt, policy, 1))).toEqual([100, 200, 400, 500, 500])
    expect(backoffMs(3, policy, 0.25)).toBe(100)
    expect(backoffMs(1, policy, 0)).toBe(1)
  })

  it('gives up after the last attempt', () => {
    expect(judgeFailure(new Error('x'), 3, policy)).toHaveProperty('retryAfterMs')
    expect(judgeFailure(new TypeError('x'), 4, policy)).toEqual({ deadReason: 'failed 4 times, last: TypeError: x' })
  })

  it('gives up at once on a permanent failure', () => {
    expect(judgeFailure(new PermanentFailure('no such film'), 1, policy)).toEqual({ deadReason: 'PermanentFailure: no such film' })
  })

  it('does not start an attempt beyond the last: the ones before may have killed their process', () => {
    expect(exhaustedBefore(4, policy)).toBeUndefined()
    expect(exhaustedBefore(5, policy)).toMatch(/given up before attempt 5/)
  })

  it.each([
    { maxAttempts: 0 },
    { maxAttempts: 1.5 },
    { maxAttempts: 3, initialDelayMs: 0 },
    { maxAttempts: 3, initialDelayMs: 10, maxDelayMs: 5 },
  ])('refuses %o', (options) => {
    expect(() => resolveRetry(options)).toThrow(expect.objectContaining({ code: 'ERR_QUEUE_OPTION' }) as Error)
  })
})
