import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, retryBudget } from './index.ts'

const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('a retry budget', () => {
  it('gets back what was paid for and not sent', async () => {
    const budget = retryBudget({ minRetriesPerSecond: 0 })
    const retry = { maxAttempts: 2, initialDelayMs: 1000, jitter: 'none' as const, budget }
    const controller = new AbortController()
    const left = Array.from({ length: 20 }, () =>
      settled(createPolicy({ retry }).execute(() => Promise.reject(new Error('blip')), { signal: controller.signal })),
    )
    await vi.advanceTimersByTimeAsync(50)
    expect(budget.tokens).toBe(500 - 20 * 14)
    controller.abort('left')
    await Promise.all(left)
    expect(budget.tokens, 'callers left in the backoff').toBe(500)

    const broken = createPolicy({ retry, breaker: { consecutiveFailures: 1 } })
    const refused = settled(broken.execute(() => Promise.reject(new Error('down'))))
    await vi.advanceTimersByTimeAsync(1000)
    await refused
    expect(budget.tokens, 'the breaker refused the retry').toBe(500)

    const unreachable = Object.assign(new Error('no'), { code: 'ECONNREFUSED', syscall: 'connect' })
    const unsent = settled(createPolicy({ retry }).execute(() => Promise.reject(unreachable)))
    await vi.advanceTimersByTimeAsync(1000)
    await unsent
    expect(budget.tokens, 'no connection was made').toBe(500)
  })

  it('is filled by time alone to its floor', async () => {
    const budget = retryBudget({ initialTokens: 0, minRetriesPerSecond: 2, retryCost: 10, capacity: 50 })
    expect(budget.tokens).toBe(0)
    await vi.advanceTimersByTimeAsync(500)
    expect(budget.tokens).toBeCloseTo(10)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(budget.tokens).toBe(50)
  })
})
