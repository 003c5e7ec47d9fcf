import { type MeterProvider, metrics } from '@opentelemetry/api'
import { afterEach, expect, it } from 'vitest'
import { createPolicy, retryBudget } from './index.ts'
import { redisRateLimiter, type RedisRateLimiterOptions } from './rate-limits/redis.ts'

type Attributes = Record<string, string>
type Gauge = (result: { observe(value: number, attributes: Attributes): void }) => void

/** The API's side of an SDK: adds up what is counted and asks the gauges. */
function recorder() {
  const sums: Record<string, number> = {}
  const gauges: [string, Gauge][] = []
  const key = (name: string, { policy, outcome, state, mode }: Attributes) =>
    [name, policy, outcome ?? state ?? mode].filter(Boolean).join(' ')
  const meter = {
    createCounter: (name: string) => ({
      add: (value: number, attributes: Attributes) => (sums[key(name, attributes)] = (sums[key(name, attributes)] ?? 0) + value),
    }),
    createObservableGauge: (name: string) => ({ addCallback: (callback: Gauge) => void gauges.push([name, callback]) }),
  }
  const read = () => {
    const all = { ...sums }
    for (const [name, ask] of gauges) ask({ observe: (value, attributes) => void (all[key(name, attributes)] = value) })
    return all
  }
  return { provider: { getMeter: () => meter } as unknown as MeterProvider, read }
}

afterEach(() => metrics.disable())

it('counts calls, retries and transitions and shows one state per breaker, also for an SDK registered later', async () => {
  const breaker = { minimumThroughput: 2, breakDurationMs: 60_000 }
  const policy = createPolicy({ name: 'm', breaker, retry: { maxAttempts: 2, initialDelayMs: 0, budget: retryBudget() } })
  await policy.execute(() => 1)
  const { provider, read } = recorder()
  metrics.setGlobalMeterProvider(provider)
  await policy.execute(() => 1)
  await policy.execute(({ attempt }) => (attempt === 1 ? Promise.reject(new Error('blip')) : 1))
  await policy.execute(() => Promise.reject(new Error('down'))).catch(() => {})
  await policy.execute(() => Promise.reject(new Error('down'))).catch(() => {})
  await policy.execute(() => 1).catch(() => {})
  await policy.execute(() => 1, { signal: AbortSignal.abort() }).catch(() => {})
  expect(read()).toEqual({
    'platform.resilience.calls m success': 2,
    'platform.resilience.calls m failure': 1,
    'platform.resilience.calls m circuit_open': 2,
    'platform.resilience.calls m aborted': 1,
    'platform.resilience.retries m': 2,
    'platform.resilience.breaker.transitions m open': 1,
    'platform.resilience.breaker.state m closed': 0,
    'platform.resilience.breaker.state m open': 1,
    'platform.resilience.breaker.state m half-open': 0,
    'platform.resilience.breaker.state m isolated': 0,
  })
})

it('counts hedges, and rate limit decisions made without Redis', async () => {
  const { provider, read } = recorder()
  metrics.setGlobalMeterProvider(provider)
  const gone = { status: 'end', evalsha: () => Promise.reject(new Error('gone')) } as unknown as RedisRateLimiterOptions['client']
  const rateLimit = redisRateLimiter({ client: gone, limit: 10, periodMs: 1000, whenDown: 'open' })
  const policy = createPolicy({ name: 'h', rateLimit, hedge: { maxHedges: 1, delayMs: 1 } })
  let answer!: (value: string) => void
  const first = new Promise<string>((resolve) => (answer = resolve))
  expect(await policy.execute(({ attempt }) => (attempt === 1 ? first : 'hedge'))).toBe('hedge')
  answer('late')
  expect(read()).toMatchObject({
    'platform.resilience.calls h success': 1,
    'platform.resilience.hedges h': 1,
    'platform.resilience.rate_limit.fallbacks open': 1,
  })
})
