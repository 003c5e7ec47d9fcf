import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Attempt, createPolicy, type Policy, retryBudget } from './index.ts'

const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const after = (ms: number, value: unknown = ms) => new Promise((resolve) => setTimeout(resolve, ms, value))
const hangs = () => new Promise<never>(() => {})

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('hedging', () => {
  it('sends another attempt after the delay, takes the first answer and aborts the loser', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 1, delayMs: 50 } })
    const attempts: Attempt[] = []
    const call = policy.execute((attempt) => (attempts.push(attempt), attempt.attempt === 1 ? hangs() : after(20, 'hedge')))
    await vi.advanceTimersByTimeAsync(49)
    expect(attempts).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(21)
    expect(await call).toBe('hedge')
    expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2])
    expect(attempts.map(({ signal }) => signal.aborted)).toEqual([true, false])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is as slow as the slowest attempt only when all fail', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 2, delayMs: 10 } })
    const failing = (ms: number) => after(ms).then(() => Promise.reject(new Error(`failed after ${ms}`)))
    const call = settled(policy.execute(({ attempt }) => failing([0, 100, 40, 60][attempt]!)))
    await vi.advanceTimersByTimeAsync(100)
    expect(await call).toMatchObject({ message: 'failed after 100' })
    const one = settled(policy.execute(() => failing(5)))
    await vi.advanceTimersByTimeAsync(5)
    expect(await one, 'a failure before the delay is not hedged').toMatchObject({ message: 'failed after 5' })
    const mended = policy.execute(({ attempt }) => (attempt === 1 ? failing(15) : after(30, 'answer')))
    await vi.advanceTimersByTimeAsync(45)
    expect(await mended).toBe('answer')
  })

  it('waits for the live 95th percentile, and does not hedge before it is known', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 1 } })
    const learn = async (count: number, ms: number) => {
      const calls = Array.from({ length: count }, () => policy.execute(() => after(ms)))
      await vi.advanceTimersByTimeAsync(ms)
      await Promise.all(calls)
    }
    const sentAfter = async (): Promise<number> => {
      const began = performance.now()
      let secondMs = Number.POSITIVE_INFINITY
      const call = policy.execute(({ attempt }) => {
        if (attempt === 2) secondMs = performance.now() - began
        return after(900)
      })
      await vi.advanceTimersByTimeAsync(1800)
      await call
      return secondMs
    }
    await learn(49, 20)
    expect(await sentAfter()).toBe(Number.POSITIVE_INFINITY)
    await learn(50, 20)
    const short = await sentAfter()
    expect(short).toBeGreaterThanOrEqual(19)
    expect(short).toBeLessThanOrEqual(22)
    await learn(100, 300)
    const long = await sentAfter()
    expect(long).toBeGreaterThan(285)
    expect(long).toBeLessThan(325)
    await vi.advanceTimersByTimeAsync(120_000)
    expect(await sentAfter(), 'old latencies are forgotten').toBe(Number.POSITIVE_INFINITY)
    await learn(60, 20)
    expect(await sentAfter(), 'and do not count').toBeLessThanOrEqual(22)
  })

  it('counts a lost attempt with the time it had taken, so that the delay does not creep down', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 1 }, retry: { maxAttempts: 1, budget: retryBudget() } })
    const run = async (count: number, ms: number, work: (attempt: Attempt) => Promise<unknown>) => {
      const calls = Array.from({ length: count }, () => policy.execute(work))
      await vi.advanceTimersByTimeAsync(ms)
      await Promise.all(calls)
    }
    await run(100, 20, () => after(20))
    await run(30, 400, ({ attempt }) => (attempt === 1 ? hangs() : after(200)))
    let begun = 0
    const probe = policy.execute(() => (begun++, after(400)))
    await vi.advanceTimersByTimeAsync(209)
    expect(begun, 'hedges took 200 ms, lost attempts 220').toBe(1)
    await vi.advanceTimersByTimeAsync(500)
    await probe
  })

  it('leaves work alone that is not idempotent, must not be begun twice, or is part of a retry already', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 1, delayMs: 10 } })
    const nested = createPolicy({ retry: { maxAttempts: 2, initialDelayMs: 0 } })
    let begun = 0
    const work = () => (begun++, after(50))
    const calls = [
      policy.execute(work, { idempotent: false }),
      policy.execute(work, { retry: false }),
      nested.execute(({ attempt }) => (attempt === 1 ? Promise.reject(new Error('blip')) : policy.execute(work))),
    ]
    await vi.advanceTimersByTimeAsync(100)
    await Promise.all(calls)
    expect(begun).toBe(3)
  })

  it('draws on the budget of the retries and stops itself when everything gets slow', async () => {
    const budget = retryBudget({ capacity: 140 })
    const policy = createPolicy({ retry: { maxAttempts: 3, budget }, hedge: { maxHedges: 1, delayMs: 10 } })
    let begun = 0
    const calls = Array.from({ length: 1000 }, () => policy.execute(() => (begun++, after(100))))
    await vi.advanceTimersByTimeAsync(100)
    await Promise.all(calls)
    expect(begun).toBe(1010)
  })

  it('does not blame the dependency for the loser, and frees its slot when its work ends', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 1, delayMs: 10 }, breaker: { minimumThroughput: 1 }, bulkhead: { maxConcurrent: 2 } })
    let release!: () => void
    const call = policy.execute<unknown>(({ attempt }) =>
      attempt === 1 ? new Promise<void>((resolve) => void (release = resolve)) : 'won',
    )
    await vi.advanceTimersByTimeAsync(10)
    expect(await call).toBe('won')
    expect(policy.stats()).toEqual({ state: 'closed', inFlight: 1, queued: 0 })
    release()
    await vi.advanceTimersByTimeAsync(0)
    expect(policy.stats().inFlight).toBe(0)
  })

  it('sends nothing beside an attempt that waits for a slot, and ignores a hedge that is refused here', async () => {
    const policy = createPolicy({ hedge: { maxHedges: 1, delayMs: 10 }, bulkhead: { maxConcurrent: 1, maxQueued: 5 } })
    let begun = 0
    const first = policy.execute(() => (begun++, after(100)))
    const second = policy.execute(() => (begun++, after(5)))
    await vi.advanceTimersByTimeAsync(50)
    expect(policy.stats().queued, 'the second call and a hedge of the first').toBe(2)
    await vi.advanceTimersByTimeAsync(55)
    expect(await Promise.all([first, second])).toEqual([100, 5])
    expect(begun).toBe(2)
    const budget = retryBudget({ refillPerSuccess: 0 })
    const refused = createPolicy({
      retry: { maxAttempts: 1, budget },
      hedge: { maxHedges: 1, delayMs: 10 },
      bulkhead: { maxConcurrent: 1 },
    })
    const call = refused.execute(() => after(50))
    await vi.advanceTimersByTimeAsync(50)
    expect(await call).toBe(50)
    expect(budget.tokens, 'a hedge that was not sent costs nothing').toBe(500)
  })

  it('takes an answer that is to be retried only when nothing better comes', async () => {
    const policy = createPolicy({
      retry: { maxAttempts: 2, initialDelayMs: 0, shouldHandle: (outcome) => !outcome.ok || outcome.value === 503 },
      hedge: { maxHedges: 1, delayMs: 10 },
    })
    const call = policy.execute(({ attempt }) => (attempt === 1 ? after(15, 503) : after(20, 200)))
    await vi.advanceTimersByTimeAsync(30)
    expect(await call).toBe(200)
  })

  describe('ends all attempts', () => {
    const signals: AbortSignal[] = []
    const work = ({ signal }: Attempt) => (signals.push(signal), hangs())
    const start = (policy: Policy, signal?: AbortSignal) => settled(policy.execute(work, { signal }))
    beforeEach(() => void signals.splice(0))

    it("with the caller's own reason", async () => {
      const controller = new AbortController()
      const call = start(createPolicy({ hedge: { maxHedges: 1, delayMs: 10 }, breaker: { minimumThroughput: 1 } }), controller.signal)
      await vi.advanceTimersByTimeAsync(20)
      const reason = { left: true }
      controller.abort(reason)
      expect(await call).toBe(reason)
      expect(signals.map((signal) => signal.reason)).toEqual([reason, reason])
      expect(vi.getTimerCount()).toBe(0)
    })

    it('at the total timeout, as one failure of one call', async () => {
      const call = start(createPolicy({ timeoutMs: 100, retry: { maxAttempts: 3 }, hedge: { maxHedges: 1, delayMs: 10 } }))
      await vi.advanceTimersByTimeAsync(100)
      expect(await call).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT', which: 'total', elapsedMs: 100 })
      expect(signals.map((signal) => signal.aborted)).toEqual([true, true])
      expect(vi.getTimerCount()).toBe(0)
    })
  })
})
