import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy } from './index.ts'
import { simulate } from './testing/index.ts'

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)
const breaker = { kind: 'gradual', samplingDurationMs: 2000 } as const
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

describe('a gradual breaker', () => {
  it('sends little to a dependency that is down and is back soon after it, without a half-open', async () => {
    const downstream = { latencyMs: 20, outages: [{ fromMs: 5000, toMs: 15_000 }] }
    const report = await simulate({ policy: { breaker }, downstream, callsPerSecond: 300, durationMs: 30_000, seed })
    expect(report.between(0, 5000).successRate).toBe(1)
    expect(report.between(8000, 15_000).loadFactor).toBeLessThan(0.05)
    expect(report.recoveryMs, 'a few windows').toBeLessThan(10_000)
    expect(report.between(27_000).successRate).toBe(1)
  })

  it('leaves the rest of a dependency alone when one shard of ten fails, where a window breaker at 10 % shuts all', async () => {
    const downstream = { latencyMs: 20, outages: [{ fromMs: 2000, toMs: 20_000, ratio: 0.1 }] }
    const options = { downstream, callsPerSecond: 300, durationMs: 20_000, seed }
    const gradual = await simulate({ ...options, policy: { breaker } })
    const window = await simulate({ ...options, policy: { breaker: { failureRatio: 0.08, samplingDurationMs: 2000 } } })
    expect(gradual.between(2000).rejected).toBe(0)
    expect(window.between(2000).successRate).toBeLessThan(0.6)
  })

  describe('counts', () => {
    beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
    afterEach(() => {
      vi.useRealTimers()
      vi.restoreAllMocks()
    })

    it('requests against successes within the window, not aborts; says half-open while it rejects; can be reset', async () => {
      vi.spyOn(Math, 'random').mockReturnValue(0.5)
      const policy = createPolicy({ breaker })
      for (let i = 0; i < 50; i++) await settled(policy.execute(() => 1, { signal: AbortSignal.abort() }))
      expect(policy.stats().state).toBe('closed')
      void Array.from({ length: 100 }, () => policy.execute(() => new Promise(() => {})))
      await settled(policy.execute(() => Promise.reject(new Error('one failure in an idle hour'))))
      expect(policy.stats().state).toBe('closed')
      await vi.advanceTimersByTimeAsync(2000)
      for (let i = 0; i < 10; i++) await policy.execute(() => 1)
      for (let i = 0; i < 10; i++) await settled(policy.execute(() => Promise.reject(new Error('down'))))
      expect(policy.stats().state, '20 requests, 10 accepted').toBe('closed')
      let sent = 0
      for (let i = 0; i < 100; i++) await settled(policy.execute(() => (sent++, Promise.reject(new Error('down')))))
      expect(sent, 'until (20 + n - 20) / (20 + n + 1) passes 0.5').toBe(22)
      expect(policy.stats().state).toBe('half-open')
      expect(await settled(policy.execute(() => 1))).toMatchObject({ code: 'ERR_RESILIENCE_CIRCUIT_OPEN' })
      policy.reset()
      expect(await policy.execute(() => 1)).toBe(1)
      for (let i = 0; i < 100; i++) await settled(policy.execute(() => Promise.reject(new Error('down'))))
      expect(policy.stats().state).toBe('half-open')
      await vi.advanceTimersByTimeAsync(2000)
      expect(policy.stats().state).toBe('closed')
      expect(vi.getTimerCount()).toBe(0)
    })

    it('can take the place of the other kind while the policy runs', async () => {
      const policy = createPolicy({ breaker: { minimumThroughput: 1 } })
      await settled(policy.execute(() => Promise.reject(new Error('down'))))
      expect(policy.stats().state).toBe('open')
      policy.update({ breaker })
      expect(policy.stats().state).toBe('closed')
      expect(await policy.execute(() => 1)).toBe(1)
      policy.update({ breaker: { minimumThroughput: 1 } })
      expect(await policy.execute(() => 1)).toBe(1)
    })
  })
})
