import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createPolicy, memoryRateLimiter } from './index.ts'

const hour = 3_600_000
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const fails = () => Promise.reject(new Error('down'))

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] }))
afterEach(() => void vi.useRealTimers())

it.each([hour, -hour])('a wall clock that jumps by %i ms changes nothing', async (jump) => {
  const limiter = memoryRateLimiter({ limit: 2, periodMs: 2000 })
  const breaker = { minimumThroughput: 4, breakDurationMs: 1000, maxBreakDurationMs: 1000, recoveryMs: 300 }
  const policy = createPolicy({ timeoutMs: 500, breaker })
  const limited = createPolicy({ rateLimit: limiter })
  const retrying = createPolicy({ retry: { maxAttempts: 2, initialDelayMs: 400, jitter: 'none' } })
  const turn = () => vi.setSystemTime(Date.now() + jump)

  for (let i = 0; i < 2; i++) await settled(limited.execute(() => 1))
  for (let i = 0; i < 3; i++) await settled(policy.execute(fails))
  const hung = settled(policy.execute(() => new Promise(() => {})))
  let attempts = 0
  const retried = settled(retrying.execute(() => (attempts++, fails())))
  turn()
  expect(await settled(limited.execute(() => 1))).toMatchObject({ code: 'ERR_RESILIENCE_RATE_LIMITED', retryAfterMs: 1000 })
  await vi.advanceTimersByTimeAsync(399)
  expect(attempts).toBe(1)
  await vi.advanceTimersByTimeAsync(1)
  expect(attempts).toBe(2)
  await retried
  await vi.advanceTimersByTimeAsync(100)
  expect(await hung).toMatchObject({ which: 'total', elapsedMs: 500 })
  expect(policy.stats().state, 'the window still holds all four').toBe('open')
  turn()
  await vi.advanceTimersByTimeAsync(999)
  expect(policy.stats().state).toBe('open')
  await vi.advanceTimersByTimeAsync(1)
  expect(await settled(policy.execute(() => 1))).toBe(1)
  turn()
  await vi.advanceTimersByTimeAsync(299)
  expect(policy.stats().state).toBe('half-open')
  await vi.advanceTimersByTimeAsync(1)
  expect(policy.stats().state).toBe('closed')
  expect(await settled(limited.execute(() => 1))).toBe(1)
})
