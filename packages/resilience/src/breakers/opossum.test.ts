import Opossum from 'opossum'
import { expect, it } from 'vitest'
import { describeBreaker } from '../breaker-contract.fixture.ts'
import { createPolicy } from '../index.ts'
import { opossumBreaker } from './opossum.ts'

const existing = (options: Opossum.Options = {}) =>
  new Opossum(async () => {}, { errorThresholdPercentage: 49, volumeThreshold: 4, resetTimeout: 1000, timeout: 500, ...options })

const breaker = { failureRatio: 0.5, minimumThroughput: 4, breakDurationMs: 1000, maxBreakDurationMs: 1000, probeTimeoutMs: 500 }
describeBreaker('this package', { make: () => ({ ...breaker, recoveryMs: 0 }) })
describeBreaker('opossum', { make: () => opossumBreaker(existing()) })

it('an opossum breaker goes on telling its listeners, its filter applies, and it can be opened by hand', async () => {
  const told: string[] = []
  const own = existing({ errorFilter: (error: Error) => error.message === 'not found' })
  for (const event of ['fire', 'success', 'failure', 'timeout', 'reject', 'open', 'close']) own.on(event as 'open', () => told.push(event))
  const policy = createPolicy({ breaker: opossumBreaker(own), attemptTimeoutMs: 20 })
  const call = (work: () => unknown) => policy.execute(work as () => Promise<unknown>).catch((error: { code?: string }) => error.code)
  await call(() => 1)
  for (let i = 0; i < 10; i++) await call(() => Promise.reject(new Error('not found')))
  expect(policy.stats().state).toBe('closed')
  await call(() => new Promise(() => {}))
  own.open()
  expect([policy.stats().state, await call(() => 1)]).toEqual(['open', 'ERR_RESILIENCE_CIRCUIT_OPEN'])
  own.close()
  expect(await call(() => 1)).toBe(1)
  expect(new Set(told)).toEqual(new Set(['fire', 'success', 'timeout', 'failure', 'open', 'close']))
  expect(own.stats.successes).toBe(1)
  expect(() => opossumBreaker({} as never)).toThrow('breaker must be an opossum breaker')
  own.shutdown()
})
