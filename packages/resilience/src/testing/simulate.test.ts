import { describe, expect, it } from 'vitest'
import { createPolicy, type PolicyOptions, retryBudget } from '../index.ts'
import { simulate } from './index.ts'
import { Downstream } from './modelled-downstream.ts'

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)
const outage = { fromMs: 5000, toMs: 15_000 }
const options = { callsPerSecond: 200, durationMs: 25_000, seed }

describe('simulate', () => {
  it('three services deep, three attempts each, everything fails: at most 1.4 calls at the leaf per call offered', async () => {
    const policy: PolicyOptions = { retry: { maxAttempts: 3, initialDelayMs: 50 } }
    const report = await simulate({
      ...options,
      policy: [policy, policy, policy],
      downstream: { latencyMs: 20, outages: [{ fromMs: 0, toMs: 25_000 }] },
    })
    const first = report.between(0, 1000)
    const rest = report.between(1000)
    console.log(`load at the leaf: ${first.loadFactor.toFixed(2)} in the first second, ${rest.loadFactor.toFixed(3)} after`)
    expect(first.loadFactor, 'retries do happen').toBeGreaterThan(1.05)
    expect(rest.loadFactor).toBeLessThanOrEqual(1.4)
    expect(rest.loadFactor).toBeGreaterThanOrEqual(0.99)
    expect(report.successRate).toBe(0)
    expect(report.recoveryMs).toBeUndefined()
  })

  it.each([2, 10, 200])(
    'at %d calls a second three layers of retries stay within 1.4x, or one retry a second and layer',
    async (callsPerSecond) => {
      const policy: PolicyOptions = { retry: { maxAttempts: 3, initialDelayMs: 20 } }
      const downstream = { latencyMs: 10, outages: [{ fromMs: 0, toMs: 10_000 }] }
      const { offered, atDownstream } = (
        await simulate({ seed, callsPerSecond, durationMs: 10_000, policy: [policy, policy, policy], downstream })
      ).between()
      console.log(`${callsPerSecond} a second: ${atDownstream} at the leaf for ${offered}`)
      expect(atDownstream).toBeGreaterThan(offered)
      expect(atDownstream).toBeLessThanOrEqual(Math.max(1.4 * offered, offered + 3 * 10))
    },
  )

  it('a timeout that no call comes near changes nothing', async () => {
    const of = async (timeoutMs: number | undefined) =>
      (
        await simulate({
          seed,
          callsPerSecond: 400,
          durationMs: 20_000,
          policy: { timeoutMs, attemptTimeoutMs: timeoutMs, bulkhead: { maxConcurrent: 100, maxQueued: 100 }, hedge: { maxHedges: 1 } },
          downstream: { latencyMs: 20, capacity: 12 },
        })
      ).between()
    expect(await of(5000)).toEqual(await of(undefined))
  })

  it('comes to what happens in real time, with timeouts, a queue and hedges', async () => {
    const model = { latencyMs: 20, capacity: 8, outages: [{ fromMs: 1000, toMs: 2000, kind: 'slow' as const, latencyMs: 120 }] }
    const policy: PolicyOptions = {
      timeoutMs: 1000,
      attemptTimeoutMs: 150,
      bulkhead: { maxConcurrent: 16, maxQueued: 30, maxWaitMs: 200 },
      hedge: { maxHedges: 1, delayMs: 60 },
    }
    const runs = { seed, callsPerSecond: 150, durationMs: 4000, policy, downstream: model }
    const simulated = (await simulate(runs)).between()
    const startedAt = performance.now()
    const downstream = new Downstream(model, () => performance.now() - startedAt)
    const real = createPolicy(policy)
    const calls: Promise<number>[] = []
    let arrived = 0
    while (performance.now() - startedAt < runs.durationMs) {
      const due = Math.floor(((performance.now() - startedAt) / 1000) * runs.callsPerSecond)
      while (calls.length < due) {
        const call = real.execute(({ signal }) => (arrived++, downstream.call(signal)))
        calls.push(
          call.then(
            () => 1,
            () => 0,
          ),
        )
      }
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    const succeeded = (await Promise.all(calls)).reduce((sum, one) => sum + one, 0) / calls.length
    console.log(`succeeded ${simulated.successRate} and really ${succeeded}, load ${simulated.loadFactor} and ${arrived / calls.length}`)
    expect(Math.abs(succeeded - simulated.successRate), 'by chance of arrivals and the load of the machine').toBeLessThan(0.2)
    expect(arrived / calls.length / simulated.loadFactor).toBeGreaterThan(0.7)
    expect(arrived / calls.length / simulated.loadFactor).toBeLessThan(1.4)
  })

  it('a breaker takes the load off and comes back by itself', async () => {
    const downstream = { latencyMs: 20, outages: [outage] }
    const report = await simulate({
      ...options,
      policy: { breaker: { samplingDurationMs: 1000, breakDurationMs: 1000, maxBreakDurationMs: 4000 } },
      downstream,
    })
    expect(report.between(0, 5000).successRate).toBe(1)
    expect(report.between(6000, 15_000).loadFactor).toBeLessThan(0.05)
    expect(report.between(6000, 15_000).rejected).toBeGreaterThan(1500)
    expect(report.recoveryMs).toBeGreaterThan(0)
    expect(report.recoveryMs).toBeLessThanOrEqual(5500)
    expect(report.between(22_000).successRate).toBe(1)
    expect(report.unfinished).toBe(0)
  })

  it('naive retries keep an overloaded downstream down after the outage; a budget lets it recover', async () => {
    const downstream = { latencyMs: 20, capacity: 6, outages: [{ fromMs: 5000, toMs: 10_000, kind: 'slow' as const, latencyMs: 100 }] }
    const policy = { attemptTimeoutMs: 200, timeoutMs: 2000, retry: { maxAttempts: 3, initialDelayMs: 10, maxDelayMs: 50 } }
    const endless = retryBudget({ capacity: 1e9 })
    const naive = await simulate({ ...options, policy: { ...policy, retry: { ...policy.retry, budget: endless } }, downstream })
    const budgeted = await simulate({ ...options, policy, downstream })
    expect(naive.between(5000).loadFactor).toBeGreaterThan(2)
    expect(budgeted.between(5000).loadFactor).toBeLessThan(1.2)
    expect(naive.recoveryMs).toBeUndefined()
  })

  it('gives the same report for the same seed, in far less than real time, and leaves the process as it was', async () => {
    const before = { now: performance.now, setTimeout, clearTimeout, random: Math.random }
    const policy: PolicyOptions = { timeoutMs: 500, attemptTimeoutMs: 100, retry: { maxAttempts: 3 }, breaker: {}, hedge: { maxHedges: 1 } }
    const one = () => simulate({ ...options, policy, downstream: { latencyMs: 40, outages: [{ ...outage, kind: 'hang', ratio: 0.3 }] } })
    const [first, second] = await Promise.all([one(), one()])
    expect(first.between()).toEqual(second.between())
    expect(first.recoveryMs).toBe(second.recoveryMs)
    expect(first.between().offered).toBeGreaterThan(4000)
    expect({ now: performance.now, setTimeout, clearTimeout, random: Math.random }).toEqual(before)
  })

  it('names a wrong option', async () => {
    const wrong = { ...options, policy: {}, downstream: { latencyMs: 1, speed: 2 } }
    expect(() => simulate(wrong)).toThrow(expect.objectContaining({ option: 'downstream.speed' }))
    await expect(simulate({ ...options, policy: { timeoutMs: -1 }, downstream: { latencyMs: 1 } })).rejects.toThrow('timeoutMs')
  })
})
