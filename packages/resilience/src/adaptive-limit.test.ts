import { AdaptiveLimit } from './adaptive-limit.ts'
import { Gradient2, overloadMs, underOverload, Vegas } from './adaptive-limit.fixture.ts'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, type Policy } from './index.ts'
import { seeded } from './random.fixture.ts'
import { simulate } from './testing/index.ts'

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)

describe('an adaptive bulkhead', () => {
  it('finds the concurrency that the downstream can take: full throughput without its queue', async () => {
    const overload = { callsPerSecond: 1500, durationMs: 10_000, downstream: { latencyMs: 20, capacity: 20 }, seed }
    const bulkhead = { maxConcurrent: 400 }
    const fixed = (await simulate({ ...overload, policy: { bulkhead } })).between(3000)
    const adaptive = (await simulate({ ...overload, policy: { bulkhead: { ...bulkhead, adaptive: {} } } })).between(3000)
    console.log(
      `fixed: ${fixed.succeeded} in ${fixed.meanMs.toFixed()} ms, adaptive: ${adaptive.succeeded} in ${adaptive.meanMs.toFixed()} ms`,
    )
    expect(fixed.meanMs).toBeGreaterThan(300)
    expect(adaptive.meanMs).toBeLessThan(80)
    expect(adaptive.succeeded).toBeGreaterThan(fixed.succeeded * 0.9)
  })

  it.each([3, 10, 40])(
    'settles near the %d that the downstream takes at once, under 1.4 times the load of that, from any start',
    async (capacity) => {
      const latencyMs = 20
      const downstream = { latencyMs, capacity }
      const callsPerSecond = (capacity / latencyMs) * 1000 * 1.4
      for (const initialConcurrent of [1, 20, 100]) {
        const policy = { timeoutMs: 5000, bulkhead: { maxConcurrent: 500, adaptive: { initialConcurrent } } }
        const { meanMs, succeeded, offered } = (await simulate({ callsPerSecond, durationMs: 12_000, policy, downstream, seed })).between(
          6000,
        )
        console.log(
          `capacity ${capacity} from ${initialConcurrent}: ${meanMs.toFixed(1)} ms, ${((succeeded / offered) * 140).toFixed()} % of the capacity`,
        )
        expect(meanMs).toBeLessThan(3 * latencyMs)
        expect(succeeded / offered).toBeGreaterThan(0.8 / 1.4)
      }
    },
  )

  it('does better than Gradient2 and Vegas as they are published, under a lasting overload', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const model = { latencyMs: 20, capacity: 10 }
    const under = (make: Parameters<typeof underOverload>[0]) => underOverload(make, model, seeded(seed))
    const all = Promise.all([
      under(() => new AdaptiveLimit({ minConcurrent: 1, initialConcurrent: 20 }, 500)),
      under(() => new Gradient2(20, 500)),
      under(() => new Vegas(20, 500)),
    ])
    await vi.advanceTimersByTimeAsync(overloadMs + 1000)
    const [ours, gradient2, vegas] = await all
    vi.useRealTimers()
    console.log('latency and throughput', { ours, gradient2, vegas })
    expect(ours.meanMs).toBeLessThan(3 * model.latencyMs)
    expect(ours.meanMs).toBeLessThan(gradient2.meanMs)
    expect(ours.perSecond).toBeGreaterThan(0.8 * 500)
    expect(ours.perSecond, 'it leaves nothing idle').toBeGreaterThan(vegas.perSecond)
  })

  describe('by its limit', () => {
    beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
    afterEach(() => void vi.useRealTimers())

    const limitOf = (policy: Policy) => policy.stats().concurrencyLimit!
    const load = async (policy: Policy, concurrent: number, latencyMs: number, rounds = 40) => {
      for (let round = 0; round < rounds; round++) {
        const calls = Array.from({ length: concurrent }, () =>
          policy.execute(() => new Promise((resolve) => setTimeout(resolve, latencyMs))),
        )
        const ended = Promise.allSettled(calls)
        await vi.advanceTimersByTimeAsync(latencyMs)
        await ended
      }
    }

    it('grows while latency stays, shrinks when it rises, keeps its bounds', async () => {
      const policy = createPolicy({ bulkhead: { maxConcurrent: 60, adaptive: { minConcurrent: 5 } } })
      expect(limitOf(policy)).toBe(20)
      await load(policy, 60, 50, 200)
      expect(limitOf(policy)).toBe(60)
      // A queue over there: each call beyond ten makes all of them slower.
      for (let round = 0; round < 40; round++) await load(policy, 60, 5 * limitOf(policy), 1)
      expect(limitOf(policy)).toBeLessThan(30)
      policy.update({ bulkhead: { maxConcurrent: 10, adaptive: {} } })
      expect(limitOf(policy)).toBeLessThanOrEqual(10)
      policy.update({ bulkhead: { maxConcurrent: 10 } })
      expect(policy.stats()).not.toHaveProperty('concurrencyLimit')
    })

    it('is not moved by few calls or by failures, and shrinks by timeouts', async () => {
      const policy = createPolicy({ attemptTimeoutMs: 100, bulkhead: { maxConcurrent: 60, adaptive: {} } })
      await load(policy, 5, 50)
      for (let i = 0; i < 100; i++) await policy.execute(() => Promise.reject(new Error('down'))).catch(() => {})
      expect(limitOf(policy)).toBe(20)
      await load(policy, 20, 1000, 3)
      expect(limitOf(policy)).toBeLessThan(20)
      expect(limitOf(policy), 'many timeouts at once are one sign').toBeGreaterThanOrEqual(14)
    })
  })
})
