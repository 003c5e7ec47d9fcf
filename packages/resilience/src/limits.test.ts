import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, memoryRateLimiter } from './index.ts'

const hangs = () => new Promise<never>(() => {})
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('bulkhead', () => {
  it('frees a slot when the work settles, not when its caller has gone', async () => {
    const policy = createPolicy({ timeoutMs: 100, bulkhead: { maxConcurrent: 1 } })
    let release!: () => void
    const late = settled(policy.execute(() => new Promise<void>((resolve) => void (release = resolve))))
    await vi.advanceTimersByTimeAsync(100)
    expect(await late).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT' })
    expect(await settled(policy.execute(() => 1))).toMatchObject({ code: 'ERR_RESILIENCE_BULKHEAD_FULL' })
    release()
    await vi.advanceTimersByTimeAsync(0)
    expect(await policy.execute(() => 1)).toBe(1)
  })

  it('bounds the wait', async () => {
    const policy = createPolicy({ bulkhead: { maxConcurrent: 1, maxQueued: 1, maxWaitMs: 50 } })
    void policy.execute(hangs)
    const waiting = settled(policy.execute(() => 1))
    await vi.advanceTimersByTimeAsync(50)
    expect(await waiting).toMatchObject({ code: 'ERR_RESILIENCE_BULKHEAD_FULL', elapsedMs: 50 })
  })
})

describe('priorities in a full queue', () => {
  const work = (order: string[], name: string) => () => void order.push(name)

  it('let the more important through first and send the latest of the least important away', async () => {
    const policy = createPolicy({ bulkhead: { maxConcurrent: 1, maxQueued: 3, maxWaitMs: 60_000 } })
    let release!: () => void
    const running = policy.execute(() => new Promise<void>((resolve) => void (release = resolve)))
    const order: string[] = []
    const low1 = policy.execute(work(order, 'low 1'), { priority: 'low' })
    const low2 = settled(policy.execute(work(order, 'low 2'), { priority: 'low' }))
    const normal = policy.execute(work(order, 'normal'))
    const high = policy.execute(work(order, 'high'), { priority: 'high' })
    expect(await low2, 'its place went to the high one').toMatchObject({ code: 'ERR_RESILIENCE_BULKHEAD_FULL' })
    expect(policy.stats().queued).toBe(3)
    expect(await settled(policy.execute(work(order, 'low 3'), { priority: 'low' }))).toMatchObject({ code: 'ERR_RESILIENCE_BULKHEAD_FULL' })
    release()
    await Promise.all([running, low1, normal, high])
    expect(order).toEqual(['high', 'normal', 'low 1'])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('are one of three', async () => {
    const call = createPolicy({}).execute(() => 1, { priority: 'urgent' as 'high' })
    expect(await settled(call)).toMatchObject({ code: 'ERR_RESILIENCE_OPTION', option: 'priority' })
  })
})

describe('rate limit', () => {
  it('spaces calls by GCRA and says exactly when to come back', async () => {
    const limiter = memoryRateLimiter({ limit: 10, periodMs: 1000, burst: 2 })
    expect(await limiter.acquire('a')).toEqual({ allowed: true, remaining: 1, retryAfterMs: 0 })
    expect(await limiter.acquire('a')).toEqual({ allowed: true, remaining: 0, retryAfterMs: 0 })
    expect(await limiter.acquire('a')).toEqual({ allowed: false, remaining: 0, retryAfterMs: 100 })
    expect((await limiter.acquire('b')).allowed).toBe(true)
    await vi.advanceTimersByTimeAsync(100)
    expect((await limiter.acquire('a')).allowed).toBe(true)
    expect((await limiter.acquire('a')).allowed).toBe(false)
    await expect(limiter.acquire('a', { cost: 3 })).rejects.toMatchObject({ code: 'ERR_RESILIENCE_OPTION', option: 'cost' })
  })

  it('admits the limit and no more over a long run', async () => {
    const limiter = memoryRateLimiter({ limit: 50, periodMs: 1000 })
    let allowed = 0
    for (let ms = 0; ms < 10_000; ms++) {
      if ((await limiter.acquire('k')).allowed) allowed++
      await vi.advanceTimersByTimeAsync(1)
    }
    expect(allowed).toBeGreaterThanOrEqual(549)
    expect(allowed).toBeLessThanOrEqual(550)
  })

  it('rejects in the chain with retryAfterMs, once per call and not per attempt', async () => {
    const policy = createPolicy({
      rateLimit: memoryRateLimiter({ limit: 1, periodMs: 1000 }),
      retry: { maxAttempts: 3, initialDelayMs: 0 },
    })
    const first = policy.execute(({ attempt }) => (attempt < 3 ? Promise.reject(new Error('again')) : attempt))
    await vi.advanceTimersByTimeAsync(10)
    expect(await first).toBe(3)
    expect(await settled(policy.execute(() => 1))).toMatchObject({ code: 'ERR_RESILIENCE_RATE_LIMITED', retryAfterMs: 990 })
  })
})

describe('a rate limiter that waits', () => {
  const limiter = () => memoryRateLimiter({ limit: 10, periodMs: 1000, burst: 1, maxWaitMs: 250 })

  it('lets callers wait for their turn, one after the other, and refuses whose turn is too far away', async () => {
    const limit = limiter()
    const passed: number[] = []
    const decisions = Array.from({ length: 5 }, () =>
      limit.acquire('k').then((decision) => (decision.allowed && passed.push(Math.round(performance.now())), decision)),
    )
    const from = Math.round(performance.now())
    await vi.advanceTimersByTimeAsync(250)
    expect(passed.map((at) => at - from)).toEqual([0, 100, 200])
    expect((await Promise.all(decisions)).map(({ allowed }) => allowed)).toEqual([true, true, true, false, false])
  })

  it('takes the turn of a caller that left for the next', async () => {
    const limit = limiter()
    await limit.acquire('k')
    const controller = new AbortController()
    const left = settled(limit.acquire('k', { signal: controller.signal }))
    controller.abort('left')
    expect(await left).toBe('left')
    const next = limit.acquire('k')
    await vi.advanceTimersByTimeAsync(100)
    expect((await next).allowed).toBe(true)
  })

  it('is left by a call whose time is over', async () => {
    const policy = createPolicy({ timeoutMs: 50, rateLimit: memoryRateLimiter({ limit: 1, periodMs: 1000, maxWaitMs: 5000 }) })
    expect(await policy.execute(() => 1)).toBe(1)
    const late = settled(policy.execute(() => 1))
    await vi.advanceTimersByTimeAsync(50)
    expect(await late).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('forgets by reset, and lets nothing pass during a penalty', async () => {
    const limit = memoryRateLimiter({ limit: 10, periodMs: 1000 })
    await limit.penalize('k', 700)
    expect(await limit.acquire('k')).toMatchObject({ allowed: false, retryAfterMs: 700 })
    await vi.advanceTimersByTimeAsync(700)
    expect([(await limit.acquire('k')).allowed, (await limit.acquire('k')).allowed]).toEqual([true, false])
    await limit.reset('k')
    expect(await limit.acquire('k')).toMatchObject({ allowed: true, remaining: 9 })
    expect(await settled(limit.penalize('k', Number.NaN))).toMatchObject({ code: 'ERR_RESILIENCE_OPTION', option: 'forMs' })
  })
})
