import { describe, expect, it } from 'vitest'
import { exhaustedBefore, judgeFailure, PermanentFailure, resolveRetry } from './retry.ts'

const policy = resolveRetry({ maxAttempts: 4, initialDelayMs: 100, maxDelayMs: 500 })

describe('retry', () => {
  it('pauses for at most the doubled bound, and at least a millisecond', () => {
    for (const [begun, bound] of [
      [1, 100],
      [2, 200],
      [3, 400],
    ] as const) {
      for (let n = 0; n < 50; n += 1) {
        const verdict = judgeFailure(new Error('x'), begun, policy) as { retryAfterMs: number }
        expect(verdict.retryAfterMs).toBeGreaterThanOrEqual(1)
        expect(verdict.retryAfterMs).toBeLessThanOrEqual(bound)
      }
    }
  })

  it('gives up after the last try', () => {
    expect(judgeFailure(new Error('x'), 3, policy)).toHaveProperty('retryAfterMs')
    expect(judgeFailure(new TypeError('x'), 4, policy)).toEqual({ deadReason: 'failed 4 times, last: TypeError: x' })
  })

  it('gives up at once on a permanent failure', () => {
    expect(judgeFailure(new PermanentFailure('no such film'), 1, policy)).toEqual({ deadReason: 'PermanentFailure: no such film' })
  })

  it('begins no try beyond the last: the ones before may have killed their process', () => {
    expect(exhaustedBefore(3, policy)).toBeUndefined()
    expect(exhaustedBefore(4, policy)).toMatch(/given up after 4 attempts/)
  })

  it('makes a storable reason of whatever was thrown', () => {
    const hostile = {
      toString: () => {
        throw new Error('no text')
      },
    } // prettier-ignore
    expect(judgeFailure(hostile, 4, policy)).toEqual({ deadReason: 'failed 4 times, last: an error without a text' })
    expect(judgeFailure('a\0b\ud800', 4, policy)).toEqual({ deadReason: 'failed 4 times, last: ab\ufffd' })
    const [long] = Object.values(judgeFailure(new Error('x'.repeat(5_000)), 4, policy)) as string[]
    expect(long).toMatch(/^failed 4 times, last: Error: x+…$/)
    expect(long?.length).toBeLessThan(600)
    const trap = (): never => {
      throw new Error('no')
    }
    const proxy: unknown = new Proxy(new Error('x'), { get: trap, getPrototypeOf: trap })
    const nameless: unknown = Object.defineProperty(new Error('x'), 'name', { get: trap })
    const odd: unknown = Object.assign(new Error('x'), { name: Symbol('s') })
    for (const error of [proxy, nameless, odd, undefined, null, Object.create(null), Object.freeze(new Error('x'))]) {
      expect(judgeFailure(error, 1, policy)).toHaveProperty('retryAfterMs')
      expect(judgeFailure(error, 4, policy)).toHaveProperty('deadReason', expect.stringMatching(/^failed 4 times, last: ./))
    }
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
