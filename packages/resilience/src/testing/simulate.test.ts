import { describe, expect, it } from 'vitest'
import { type PolicyOptions, retryBudget } from '../index.ts'
import { simulate } from './index.ts'

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
