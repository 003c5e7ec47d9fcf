import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createPolicy, type PolicyOptions, ResilienceError } from './index.ts'

const seed = Math.floor(Math.random() * 2 ** 31) + 1
console.log(`seed ${seed}`)
let state = seed
const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
const chance = <T>(value: T): T | undefined => (random() < 0.6 ? value : undefined)

function options(): PolicyOptions {
  return {
    timeoutMs: chance(5 + random() * 60),
    attemptTimeoutMs: chance(2 + random() * 30),
    retry: chance({ maxAttempts: 1 + Math.floor(random() * 3), initialDelayMs: random() * 5 }),
    hedge: chance({ maxHedges: 1 + Math.floor(random() * 2), delayMs: chance(1 + random() * 10) }),
    breaker: chance(random() < 0.3 ? { kind: 'gradual' as const } : { minimumThroughput: 5, breakDurationMs: 5 + random() * 20 }),
    bulkhead: chance({ maxConcurrent: 1 + Math.floor(random() * 10), maxQueued: 10, maxWaitMs: 20, adaptive: chance({}) }),
  }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

it('keeps count of everything while options change under calls that succeed, fail, hang and are aborted', async () => {
  const policy = createPolicy(options())
  const failure = new Error('down')
  let running = 0
  const work = async (): Promise<number> => {
    running++
    await new Promise((resolve) => setTimeout(resolve, random() * 40))
    running--
    if (random() < 0.4) throw failure
    return 1
  }
  const left = { left: true }
  const calls: Promise<unknown>[] = []
  for (let ms = 0; ms < 3000; ms++) {
    const controller = new AbortController()
    if (random() < 0.3) setTimeout(() => controller.abort(left), random() * 30)
    const priority = random() < 0.3 ? 'low' : 'normal'
    calls.push(policy.execute(work, { signal: controller.signal, priority }).catch((error: unknown) => error))
    if (random() < 0.1) policy.update(options())
    await vi.advanceTimersByTimeAsync(1)
    expect(policy.stats().inFlight).toBe(running)
  }
  await vi.advanceTimersByTimeAsync(1000)
  const results = await Promise.all(calls)
  const expected = (result: unknown) => result === 1 || result === failure || result === left || ResilienceError.isInstance(result)
  expect(results.filter((result) => !expected(result))).toEqual([])
  expect(results.filter((result) => result === 1).length).toBeGreaterThan(100)
  expect(policy.stats()).toMatchObject({ inFlight: 0, queued: 0 })
  policy.update({ bulkhead: { maxConcurrent: 1 } })
  expect(await policy.execute(() => 'free')).toBe('free')
  policy.update({})
  expect(vi.getTimerCount()).toBe(0)
})

it('whoever waits in the queue of a bulkhead that is taken away need not wait', async () => {
  const policy = createPolicy({ bulkhead: { maxConcurrent: 1, maxQueued: 2 } })
  const running = Promise.withResolvers<void>()
  const first = policy.execute(() => running.promise)
  const waiting = [policy.execute(() => 1), policy.execute(() => 2)]
  expect(policy.stats().queued).toBe(2)
  policy.update({})
  expect(await Promise.all(waiting)).toEqual([1, 2])
  running.resolve()
  await first
  expect(policy.stats()).toMatchObject({ inFlight: 0, queued: 0 })
})
