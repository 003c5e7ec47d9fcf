import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, type Policy } from './index.ts'

const breaker = { minimumThroughput: 4, breakDurationMs: 1000, maxBreakDurationMs: 1000, recoveryMs: 0 }
const fails = () => Promise.reject(new Error('down'))
const ok = () => 1
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const tookMs = (ms: number, ends: () => unknown) => () => new Promise((resolve) => setTimeout(resolve, ms)).then(ends)

async function run(policy: Policy, work: () => unknown, afterMs = 0): Promise<unknown> {
  const call = settled(policy.execute(work))
  await vi.advanceTimersByTimeAsync(afterMs)
  return call
}

async function open(policy: Policy): Promise<void> {
  for (let i = 0; i < 4; i++) await run(policy, fails)
  expect(policy.stats().state).toBe('open')
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

describe('what opens the breaker', () => {
  it('failures in a row, however few calls there are; a success or a quiet window begins anew', async () => {
    const policy = createPolicy({ breaker: { ...breaker, minimumThroughput: 1000, consecutiveFailures: 3 } })
    for (const work of [fails, fails, ok, fails, fails]) await run(policy, work)
    expect(policy.stats().state).toBe('closed')
    await vi.advanceTimersByTimeAsync(3_600_000)
    await run(policy, fails)
    expect(policy.stats().state, 'an hour later one failure is the first').toBe('closed')
    for (const work of [fails, fails]) await run(policy, work)
    expect(policy.stats().state).toBe('open')
  })

  it('slow calls, also when they succeed', async () => {
    const policy = createPolicy({ breaker: { ...breaker, slowCallDurationMs: 200, slowCallRatio: 0.5 } })
    for (let i = 0; i < 3; i++) await run(policy, tookMs(199, ok), 199)
    for (let i = 0; i < 2; i++) await run(policy, tookMs(200, ok), 200)
    expect(policy.stats().state, '2 of 5').toBe('closed')
    await run(policy, tookMs(200, ok), 200)
    expect(policy.stats().state, '3 of 6').toBe('open')
    await vi.advanceTimersByTimeAsync(1000)
    await run(policy, tookMs(200, ok), 200)
    expect(policy.stats().state, 'a slow probe is no recovery').toBe('open')
  })
})

describe('breaks', () => {
  const lengths: number[] = []
  const policyWith = (maxBreakDurationMs?: number) =>
    createPolicy({
      breaker: { ...breaker, maxBreakDurationMs },
      onBreak: ({ breakDurationMs }) => lengths.push(breakDurationMs),
    })
  beforeEach(() => void lengths.splice(0))

  it('last longer each time, by chance between the shortest and twice the one before, up to the cap', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.999_999)
    const policy = policyWith()
    await open(policy)
    for (let i = 0; i < 5; i++) {
      await vi.advanceTimersByTimeAsync(lengths.at(-1)!)
      expect(policy.stats().state).toBe('half-open')
      await run(policy, fails)
    }
    expect(lengths).toEqual([2000, 4000, 8000, 10_000, 10_000, 10_000])
    vi.spyOn(Math, 'random').mockReturnValue(0)
    await vi.advanceTimersByTimeAsync(10_000)
    await run(policy, fails)
    expect(lengths.at(-1)).toBe(1000)
  })

  it('say how long they last, and many breakers do not come back in step', async () => {
    const policies = Array.from({ length: 100 }, () => policyWith())
    for (const policy of policies) await open(policy)
    const rejections = await Promise.all(policies.map((policy) => settled(policy.execute(ok))))
    expect(rejections.map((error) => (error as { retryAfterMs: number }).retryAfterMs)).toEqual(lengths)
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(1000)
    expect(Math.max(...lengths) - Math.min(...lengths)).toBeGreaterThan(700)
  })

  it('are short again after a recovery that lasted a window', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.999_999)
    const policy = policyWith()
    await open(policy)
    await vi.advanceTimersByTimeAsync(2000)
    await run(policy, ok)
    await open(policy)
    await vi.advanceTimersByTimeAsync(4000)
    await run(policy, ok)
    await vi.advanceTimersByTimeAsync(10_001)
    await open(policy)
    expect(lengths).toEqual([2000, 4000, 2000])
  })
})

describe('recovery', () => {
  const recovering = async (): Promise<{ policy: Policy; events: string[] }> => {
    const events: string[] = []
    const policy = createPolicy({ breaker: { ...breaker, recoveryMs: 3000 }, onReset: () => events.push('reset') })
    await open(policy)
    await vi.advanceTimersByTimeAsync(1000)
    await run(policy, ok)
    expect(policy.stats().state).toBe('half-open')
    return { policy, events }
  }

  it('lets 10, 25, 50 and then 100 % of the calls through', async () => {
    const { policy, events } = await recovering()
    const passed: number[] = []
    for (let step = 0; step < 4; step++) {
      const results = await Promise.all(Array.from({ length: 1000 }, () => settled(policy.execute(ok))))
      passed.push(results.filter((result) => result === 1).length)
      await vi.advanceTimersByTimeAsync(1000)
    }
    expect(passed[0]).toBeLessThanOrEqual(101)
    expect(passed).toEqual([expect.closeTo(100, -1), expect.closeTo(250, -1), expect.closeTo(500, -1), 1000])
    expect(policy.stats().state).toBe('closed')
    expect(events).toEqual(['reset'])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends at the first failures', async () => {
    const { policy, events } = await recovering()
    await run(policy, fails)
    expect(policy.stats().state).toBe('open')
    await vi.advanceTimersByTimeAsync(999)
    expect(await run(policy, ok)).toMatchObject({ code: 'ERR_RESILIENCE_CIRCUIT_OPEN', retryAfterMs: 1 })
    expect(events).toEqual([])
  })

  it('takes an update that shortens it for the next one', async () => {
    const { policy } = await recovering()
    policy.update({ breaker })
    expect((await Promise.all(Array.from({ length: 100 }, () => settled(policy.execute(ok))))).filter((r) => r === 1)).toHaveLength(10)
  })
})

describe('reset', () => {
  it('closes at once, with an empty window and a short next break, and late results change nothing', async () => {
    const policy = createPolicy({ breaker })
    let failLate!: (error: Error) => void
    const late = settled(policy.execute(() => new Promise((_, reject) => void (failLate = reject))))
    for (let i = 0; i < 3; i++) await run(policy, fails)
    policy.reset()
    failLate(new Error('late'))
    await late
    for (let i = 0; i < 3; i++) await run(policy, fails)
    expect(policy.stats().state).toBe('closed')
    await run(policy, fails)
    expect(policy.stats().state).toBe('open')
    policy.reset()
    expect(policy.stats().state).toBe('closed')
    expect(vi.getTimerCount()).toBe(0)
    expect(await run(policy, ok)).toBe(1)
  })
})

describe('a circuit', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  it.each([
    ['fewer probes', { probes: 2 }],
    ['one probe', { probes: 1 }],
    ['shorter leases', { probes: 3, probeTimeoutMs: 1 }],
    ['a longer break', { probes: 3, breakDurationMs: 5000, maxBreakDurationMs: 5000 }],
    ['a recovery', { probes: 2, recoveryMs: 100 }],
  ])('comes back whatever is changed while it probes: %s', async (_, change) => {
    const before = { consecutiveFailures: 1, breakDurationMs: 50, maxBreakDurationMs: 50, probes: 3, recoveryMs: 0 }
    const policy = createPolicy({ breaker: before })
    await policy.execute(() => Promise.reject(new Error('down'))).catch(() => {})
    await vi.advanceTimersByTimeAsync(60)
    await policy.execute(() => 1)
    await policy.execute(() => 1)
    expect(policy.stats().state).toBe('half-open')
    policy.update({ breaker: { ...before, ...change } })
    for (let ms = 0; ms < 10_000 && policy.stats().state !== 'closed'; ms += 20) {
      await policy.execute(() => 1).catch(() => {})
      await vi.advanceTimersByTimeAsync(20)
    }
    expect(policy.stats().state).toBe('closed')
  })
})
