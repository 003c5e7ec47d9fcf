import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, memoryRateLimiter, noopPolicy, type PolicyOptions, retryBudget } from './index.ts'

const hangs = () => new Promise<never>(() => {})
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('timeout', () => {
  it('ends the call at timeoutMs and aborts the work', async () => {
    const policy = createPolicy({ name: 'p', timeoutMs: 200 })
    let signal!: AbortSignal
    const call = settled(policy.execute((attempt) => ((signal = attempt.signal), hangs())))
    await vi.advanceTimersByTimeAsync(199)
    expect(signal.aborted).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    const error = await call
    expect(error).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT', which: 'total', elapsedMs: 200, policy: 'p' })
    expect(signal.reason).toBe(error)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends one attempt at attemptTimeoutMs and lets the next one try', async () => {
    const policy = createPolicy({ attemptTimeoutMs: 100, retry: { maxAttempts: 2, initialDelayMs: 10, jitter: 'none' } })
    const signals: AbortSignal[] = []
    const call = policy.execute(({ signal, attempt }) => (signals.push(signal), attempt === 1 ? hangs() : 'second'))
    await vi.advanceTimersByTimeAsync(110)
    expect(await call).toBe('second')
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false])
    expect((signals[0]!.reason as { which: string }).which).toBe('attempt')
  })

  it('does not begin work whose time ran out while the event loop was blocked', async () => {
    const run = vi.fn<() => number>(() => 1)
    let now = performance.now()
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now)
    const acquire = async () => {
      now += 500
      return { allowed: true, remaining: 1, retryAfterMs: 0 }
    }
    const error = await settled(createPolicy({ timeoutMs: 100, rateLimit: { acquire } }).execute(run))
    clock.mockRestore()
    expect(error).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT', which: 'total', elapsedMs: 500 })
    expect(run).not.toHaveBeenCalled()
  })

  it('shows a signal that is read late as aborted already', async () => {
    const policy = createPolicy({ timeoutMs: 10 })
    let read!: () => boolean
    const call = settled(policy.execute((attempt) => ((read = () => attempt.signal.aborted), hangs())))
    await vi.advanceTimersByTimeAsync(10)
    await call
    expect(read()).toBe(true)
  })
})

describe('what the work throws', () => {
  const everything: PolicyOptions = {
    timeoutMs: 1000,
    attemptTimeoutMs: 500,
    retry: { maxAttempts: 2, initialDelayMs: 0 },
    breaker: {},
    bulkhead: { maxConcurrent: 10 },
    rateLimit: memoryRateLimiter({ limit: 100, periodMs: 1000 }),
  }

  it.each([
    ['an empty policy', {}],
    ['the whole chain', everything],
  ])('arrives unchanged through %s', async (_, options) => {
    const thrown = new Error('sync')
    for (const run of [
      () => {
        throw thrown
      },
      () => Promise.reject(thrown),
    ]) {
      const call = settled(createPolicy(options).execute(run))
      await vi.advanceTimersByTimeAsync(1)
      expect(await call).toBe(thrown)
    }
    const undefinedRejection = createPolicy(options)
      .execute(() => Promise.reject(undefined))
      .then(
        () => 'resolved',
        (error: unknown) => ({ error }),
      )
    await vi.advanceTimersByTimeAsync(1)
    expect(await undefinedRejection).toEqual({ error: undefined })
    // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
    const thenable = { then: (resolve: (value: number) => void) => resolve(7) } as unknown as Promise<number>
    expect(await createPolicy(options).execute(() => thenable)).toBe(7)
    expect(await createPolicy(options).execute(() => 8)).toBe(8)
  })

  it('can be replaced by a fallback, unless the caller aborted', async () => {
    const policy = createPolicy({ timeoutMs: 50 })
    const late = policy.execute(hangs as () => Promise<string>, { fallback: (error) => (error as { code: string }).code })
    await vi.advanceTimersByTimeAsync(50)
    expect(await late).toBe('ERR_RESILIENCE_TIMEOUT')
    const reason = new Error('left')
    const fallback = vi.fn<() => string>(() => 'unused')
    expect(await settled(policy.execute(() => 'x', { signal: AbortSignal.abort(reason), fallback }))).toBe(reason)
    expect(fallback).not.toHaveBeenCalled()
    const controller = new AbortController()
    const inFallback = settled(policy.execute(() => Promise.reject(new Error('down')), { signal: controller.signal, fallback: hangs }))
    await vi.advanceTimersByTimeAsync(100)
    controller.abort(reason)
    expect(await inFallback).toBe(reason)
  })

  it('keeps both errors when the fallback fails too, unless it says so itself', async () => {
    const [first, second] = [new Error('down'), new Error('no fallback')]
    const failing = (fallback: (error: unknown) => never) => settled(createPolicy({}).execute(() => Promise.reject(first), { fallback }))
    const both = await failing(() => {
      throw second
    })
    expect(both).toMatchObject({ errors: [first, second], cause: first })
    expect(
      await failing((error) => {
        throw error
      }),
    ).toBe(first)
    const wrapped = new Error('wrapped', { cause: first })
    expect(
      await failing(() => {
        throw wrapped
      }),
    ).toBe(wrapped)
  })
})

describe('abort', () => {
  const reason = { left: true }

  it("ends a call in flight with the caller's own reason", async () => {
    const controller = new AbortController()
    let signal!: AbortSignal
    const call = settled(createPolicy({}).execute((attempt) => ((signal = attempt.signal), hangs()), { signal: controller.signal }))
    controller.abort(reason)
    expect(await call).toBe(reason)
    expect(signal.reason).toBe(reason)
  })

  it('in flight says nothing about the dependency, and the slot is free when the work has really ended', async () => {
    const controller = new AbortController()
    const policy = createPolicy({ retry: { maxAttempts: 3 }, breaker: { minimumThroughput: 1 }, bulkhead: { maxConcurrent: 1 } })
    let failLate!: (error: Error) => void
    const run = vi.fn<() => Promise<never>>(() => new Promise((_, reject) => void (failLate = reject)))
    const call = settled(policy.execute(run, { signal: controller.signal }))
    controller.abort(reason)
    expect(await call).toBe(reason)
    expect(policy.stats()).toEqual({ state: 'closed', inFlight: 1, queued: 0 })
    expect(await settled(policy.execute(() => 1))).toMatchObject({ code: 'ERR_RESILIENCE_BULKHEAD_FULL' })
    failLate(new Error('late'))
    await vi.advanceTimersByTimeAsync(0)
    expect(policy.stats()).toEqual({ state: 'closed', inFlight: 0, queued: 0 })
    expect(await policy.execute(() => 1)).toBe(1)
    expect(run).toHaveBeenCalledTimes(1)
  })

  it('ends a call in backoff without another attempt', async () => {
    const controller = new AbortController()
    const run = vi.fn<() => Promise<never>>(() => Promise.reject(new Error('down')))
    const call = settled(
      createPolicy({ retry: { maxAttempts: 9, initialDelayMs: 60_000, maxDelayMs: 60_000, jitter: 'none' } }).execute(run, {
        signal: controller.signal,
      }),
    )
    await vi.advanceTimersByTimeAsync(10)
    controller.abort(reason)
    expect(await call).toBe(reason)
    await vi.advanceTimersByTimeAsync(120_000)
    expect(run).toHaveBeenCalledTimes(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends a call in the queue, and the others keep their order', async () => {
    const policy = createPolicy({ bulkhead: { maxConcurrent: 1, maxQueued: 3, maxWaitMs: 60_000 } })
    let release!: () => void
    const first = policy.execute(() => new Promise<void>((resolve) => void (release = resolve)))
    const controller = new AbortController()
    const order: number[] = []
    const second = policy.execute(() => void order.push(2))
    const third = settled(policy.execute(() => void order.push(3), { signal: controller.signal }))
    const fourth = policy.execute(() => void order.push(4))
    expect(policy.stats().queued).toBe(3)
    controller.abort(reason)
    expect(await third).toBe(reason)
    expect(policy.stats().queued).toBe(2)
    release()
    await Promise.all([first, second, fourth])
    expect(order).toEqual([2, 4])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends a call that waits for its rate limiter', async () => {
    const controller = new AbortController()
    const run = vi.fn<() => void>()
    const call = settled(createPolicy({ rateLimit: { acquire: hangs } }).execute(run, { signal: controller.signal }))
    controller.abort(reason)
    expect(await call).toBe(reason)
    expect(run).not.toHaveBeenCalled()
  })

  it('leaves no listener on a signal used 10,000 times', async () => {
    const { signal } = new AbortController()
    const policy = createPolicy({
      timeoutMs: 1000,
      attemptTimeoutMs: 500,
      rateLimit: memoryRateLimiter({ limit: 100_000, periodMs: 1000 }),
      retry: { maxAttempts: 2, initialDelayMs: 0, budget: retryBudget({ capacity: 1e6 }) },
      hedge: { maxHedges: 1, delayMs: 1 },
      breaker: {},
      bulkhead: { maxConcurrent: 5, maxQueued: 5 },
    })
    for (let i = 0; i < 10_000; i++) await policy.execute(({ signal: own }) => own.aborted, { signal })
    const failing = policy.execute(({ attempt }) => (attempt === 1 ? Promise.reject(new Error('blip')) : attempt), { signal })
    await vi.advanceTimersByTimeAsync(1)
    expect(await failing).toBe(2)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('options', () => {
  it.each([
    ['cache', { cache: { ttlMs: 1 } }],
    ['hedge.maxHedges', { hedge: { maxHedges: 0 } }],
    ['breaker.maxBreakDurationMs', { breaker: { breakDurationMs: 100, maxBreakDurationMs: 50 } }],
    ['breaker.breakDurationMs', { breaker: { kind: 'gradual', breakDurationMs: 1000 } }],
    ['breaker.kind', { breaker: { kind: 'gentle' } }],
    ['bulkhead.adaptive.minConcurrent', { bulkhead: { maxConcurrent: 5, adaptive: { minConcurrent: 6 } } }],
    ['retry.attempts', { retry: { maxAttempts: 2, attempts: 3 } }],
    ['retry.maxAttempts', { retry: { maxAttempts: 0 } }],
    ['breaker.failureRatio', { breaker: { failureRatio: 50 } }],
    ['timeoutMs', { timeoutMs: '5s' }],
    ['bulkhead.maxConcurrent', { bulkhead: {} }],
    ['retry.budget', { retry: { maxAttempts: 2, budget: { tokens: 5 } } }],
    ['onRetry', { onRetry: 'log' }],
  ])('names a wrong one: %s', (option, options) => {
    expect(() => createPolicy(options as unknown as PolicyOptions)).toThrow(
      expect.objectContaining({ code: 'ERR_RESILIENCE_OPTION', option }),
    )
  })

  it('apply at once when updated, by hand and from a live value; a wrong one changes nothing', async () => {
    const listeners: ((next: PolicyOptions) => { commit(): void })[] = []
    const live = {
      current: { timeoutMs: 1000 },
      onChange: (prepare: (next: PolicyOptions) => { commit(): void }) => (listeners.push(prepare), () => {}),
    }
    const policy = createPolicy(live)
    const ends = async (afterMs: number) => {
      const call = settled(policy.execute(hangs))
      await vi.advanceTimersByTimeAsync(afterMs - 1)
      expect(vi.getTimerCount()).toBe(1)
      await vi.advanceTimersByTimeAsync(1)
      expect(await call).toMatchObject({ elapsedMs: afterMs })
    }
    await ends(1000)
    const prepared = listeners[0]!({ timeoutMs: 50 })
    await ends(1000)
    prepared.commit()
    await ends(50)
    expect(() => listeners[0]!({ timeoutMs: -1 })).toThrow('timeoutMs')
    policy.update({ timeoutMs: 70 })
    await ends(70)
    expect(() => policy.update({ name: 'other' })).toThrow('cannot change')
  })

  it('keep windows and running calls over an update', async () => {
    const policy = createPolicy({ breaker: { minimumThroughput: 10 }, bulkhead: { maxConcurrent: 1, maxQueued: 5 } })
    for (let i = 0; i < 4; i++) await settled(policy.execute(() => Promise.reject(new Error('down'))))
    void policy.execute(hangs)
    const queued = policy.execute(() => 'ran')
    policy.update({ breaker: { minimumThroughput: 5, failureRatio: 0.8 }, bulkhead: { maxConcurrent: 2, maxQueued: 5 } })
    expect(await queued).toBe('ran')
    await settled(policy.execute(() => Promise.reject(new Error('down'))))
    expect(policy.stats(), '5 of 6 in a window begun before the update').toEqual({ state: 'open', inFlight: 1, queued: 0 })
  })
})

describe('isolate', () => {
  it('rejects until every hold is released', async () => {
    const rejected: string[] = []
    const policy = createPolicy({ onReject: ({ code }) => rejected.push(code) })
    const [first, second] = [policy.isolate(), policy.isolate()]
    first()
    first()
    expect(policy.stats().state).toBe('isolated')
    expect(await settled(policy.execute(() => 1))).toMatchObject({ code: 'ERR_RESILIENCE_ISOLATED' })
    second()
    expect(await policy.execute(() => 1)).toBe(1)
    expect(rejected).toEqual(['ERR_RESILIENCE_ISOLATED'])
  })
})

describe('noopPolicy', () => {
  it('runs once, with abort and fallback', async () => {
    const controller = new AbortController()
    const call = settled(noopPolicy.execute(hangs, { signal: controller.signal }))
    controller.abort('gone')
    expect(await call).toBe('gone')
    expect(await noopPolicy.execute(() => Promise.reject(new Error()), { fallback: () => 'spare' })).toBe('spare')
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })
})
