import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, retryBudget } from './index.ts'

const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('retry', () => {
  it('doubles its delays and tries maxAttempts times in all', async () => {
    const delays: number[] = []
    const run = vi.fn<() => Promise<never>>(() => Promise.reject(new Error('down')))
    const policy = createPolicy({
      retry: { maxAttempts: 4, initialDelayMs: 100, maxDelayMs: 300, jitter: 'none' },
      onRetry: ({ delayMs }) => delays.push(delayMs),
    })
    const call = settled(policy.execute(run))
    await vi.advanceTimersByTimeAsync(600)
    expect(await call).toMatchObject({ message: 'down' })
    expect(run).toHaveBeenCalledTimes(4)
    expect(delays).toEqual([100, 200, 300])
  })

  it('spreads delays over the whole range by default', async () => {
    const delays: number[] = []
    const policy = createPolicy({
      retry: { maxAttempts: 2, initialDelayMs: 1000, budget: retryBudget({ capacity: 1e6 }) },
      onRetry: ({ delayMs }) => delays.push(delayMs),
    })
    const calls = Array.from({ length: 200 }, () => settled(policy.execute(() => Promise.reject(new Error('down')))))
    await vi.advanceTimersByTimeAsync(1000)
    await Promise.all(calls)
    expect(Math.min(...delays)).toBeLessThan(200)
    expect(Math.max(...delays)).toBeGreaterThan(800)
    expect(Math.max(...delays)).toBeLessThan(1000)
  })

  it('waits for Retry-After, and gives up when it is beyond maxDelayMs', async () => {
    const reasons: string[] = []
    const make = () =>
      createPolicy({
        retry: {
          maxAttempts: 2,
          initialDelayMs: 1,
          maxDelayMs: 5000,
          shouldHandle: (outcome) => !outcome.ok || (outcome.value as Response).status === 503,
        },
        onGiveUp: ({ reason }) => reasons.push(reason),
      })
    const answers = [new Response(null, { status: 503, headers: { 'retry-after': '3' } }), new Response('fine')]
    let calls = 0
    const call = make().execute(() => answers[calls++]!)
    await vi.advanceTimersByTimeAsync(2999)
    expect(calls).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect((await call).status).toBe(200)
    const dated = new Response(null, {
      status: 503,
      headers: { date: 'Tue, 01 Jan 2030 00:00:00 GMT', 'retry-after': 'Tue, 01 Jan 2030 00:00:06 GMT' },
    })
    expect(await make().execute(() => dated)).toBe(dated)
    expect(reasons).toEqual(['retry-after'])
  })

  it('does not sleep past the deadline', async () => {
    const policy = createPolicy({ timeoutMs: 100, retry: { maxAttempts: 5, initialDelayMs: 200, jitter: 'none' } })
    expect(await settled(policy.execute(() => Promise.reject(new Error('down'))))).toMatchObject({ message: 'down' })
  })

  it('repeats work that is not idempotent only when nothing was sent', async () => {
    const policy = createPolicy({ retry: { maxAttempts: 3, initialDelayMs: 0 } })
    const sent = vi.fn<() => Promise<never>>(() => Promise.reject(new Error('reset')))
    expect(await settled(policy.execute(sent, { idempotent: false }))).toMatchObject({ message: 'reset' })
    expect(sent).toHaveBeenCalledTimes(1)
    expect(await settled(policy.execute(sent, { retry: false }))).toMatchObject({ message: 'reset' })
    expect(sent).toHaveBeenCalledTimes(2)
    const refused = vi.fn<() => Promise<never>>(() =>
      Promise.reject(new TypeError('fetch failed', { cause: Object.assign(new Error(), { code: 'ECONNREFUSED' }) })),
    )
    const call = settled(policy.execute(refused, { idempotent: false }))
    await vi.advanceTimersByTimeAsync(10)
    await call
    expect(refused).toHaveBeenCalledTimes(3)
  })

  it('flattens an outage by its budget and heals a blip', async () => {
    const budget = retryBudget({ capacity: 140 })
    const policy = createPolicy({ retry: { maxAttempts: 3, initialDelayMs: 0, budget } })
    let attempts = 0
    const outage = Array.from({ length: 1000 }, () => settled(policy.execute(() => (attempts++, Promise.reject(new Error('down'))))))
    await vi.advanceTimersByTimeAsync(100)
    await Promise.all(outage)
    expect(attempts).toBe(1010)
    expect(budget.tokens).toBeLessThan(14)
    for (let i = 0; i < 14; i++) await policy.execute(() => 1)
    const blip = policy.execute(({ attempt }) => (attempt === 1 ? Promise.reject(new Error('blip')) : 'healed'))
    await vi.advanceTimersByTimeAsync(10)
    expect(await blip).toBe('healed')
    expect(budget.tokens, 'a retry that succeeds costs nothing').toBeGreaterThanOrEqual(14)
  })

  it('reports the answer of the attempt that was sent when a later one is refused here', async () => {
    const policy = createPolicy({ retry: { maxAttempts: 3, initialDelayMs: 0 }, breaker: { minimumThroughput: 1 } })
    const call = settled(policy.execute(() => Promise.reject(new Error('down'))))
    await vi.advanceTimersByTimeAsync(10)
    expect(await call).toMatchObject({ message: 'down' })
    expect(policy.stats().state).toBe('open')
  })
})
