import { once } from 'node:events'
import { faultProxy, startRedis } from '@platform/stack'
import { testRedis } from '@platform/stack/testing'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createPolicy } from '../index.ts'
import { redisRateLimiter, type RedisRateLimiterOptions } from './redis.ts'
import { runFourProcesses } from './redis-processes.fixture.ts'

const hour = 3_600_000
const patience = { timeout: 10_000 }
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
let server: Awaited<ReturnType<typeof testRedis>>
let client: Redis

beforeAll(async () => {
  server = await testRedis()
  client = new Redis(server.url)
})
afterAll(async () => {
  client.disconnect()
  await server.close()
})

describe('redisRateLimiter', () => {
  const limiterOf = (options: Partial<RedisRateLimiterOptions> = {}) =>
    redisRateLimiter({ client, limit: 10, periodMs: hour, burst: 3, whenDown: 'closed', timeoutMs: 10_000, ...options })

  it('counts keys apart and says when to come back', async () => {
    const limiter = limiterOf()
    expect(await limiter.acquire('a')).toEqual({ allowed: true, remaining: 2, retryAfterMs: 0 })
    expect(await limiter.acquire('a', { cost: 2 })).toEqual({ allowed: true, remaining: 0, retryAfterMs: 0 })
    const refused = await limiter.acquire('a')
    expect(refused).toMatchObject({ allowed: false, remaining: 0 })
    expect(refused.retryAfterMs).toBeGreaterThan(hour / 10 - 60_000)
    expect(refused.retryAfterMs).toBeLessThanOrEqual(hour / 10)
    expect((await limiter.acquire('b')).allowed).toBe(true)
    expect((await limiter.acquire('a', { cost: 0 })).allowed).toBe(true)
    await expect(limiter.acquire('a', { cost: 4 })).rejects.toMatchObject({ option: 'cost' })
  })

  it('shares one count between limiters, lets exactly the burst of a crowd pass, and its key expires', async () => {
    const other = new Redis(server.url)
    const limiters = [
      limiterOf({ burst: 10 }),
      redisRateLimiter({ client: other, limit: 10, periodMs: hour, whenDown: 'closed', timeoutMs: 10_000 }),
    ]
    const decisions = await Promise.all(Array.from({ length: 200 }, (_, i) => limiters[i % 2]!.acquire('crowd')))
    other.disconnect()
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(10)
    expect(await client.pttl('rate:key:crowd')).toBeGreaterThan(hour - 60_000)
    expect(await client.pttl('rate:key:crowd')).toBeLessThanOrEqual(hour)
  })

  it('is not held up by a stored time from a clock that ran ahead', async () => {
    const time = await client.time()
    await client.set('rate:key:ahead', String(Number(time[0]) * 1e6 + 86_400e6))
    const { retryAfterMs } = await limiterOf().acquire('ahead')
    expect(retryAfterMs).toBeLessThanOrEqual(hour / 10)
  })

  it('waits for a turn, gives it back, is reset, and keeps a penalty', async () => {
    const limiter = limiterOf({ limit: 10, periodMs: 1000, burst: 1, maxWaitMs: 5000 })
    const startedAt = performance.now()
    await Promise.all([1, 2, 3].map(() => limiter.acquire('turn')))
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(195)
    const controller = new AbortController()
    const far = limiterOf({ maxWaitMs: hour, burst: 1 })
    await far.acquire('left')
    const left = settled(far.acquire('left', { signal: controller.signal }))
    await vi.waitFor(async () => expect(await client.pttl('rate:key:left')).toBeGreaterThan(hour / 10), patience)
    controller.abort('left')
    expect(await left).toBe('left')
    await vi.waitFor(async () => expect(await client.pttl('rate:key:left')).toBeLessThanOrEqual(hour / 10), patience)
    await far.reset('left')
    expect((await far.acquire('left')).allowed).toBe(true)
    const plain = limiterOf()
    await plain.penalize('bad', 60_000)
    const { allowed, retryAfterMs } = await plain.acquire('bad')
    expect(allowed).toBe(false)
    expect(retryAfterMs).toBeGreaterThan(50_000)
    expect(retryAfterMs).toBeLessThanOrEqual(60_000)
  })

  it('takes no key of a caller for one of its own', async () => {
    const limiter = limiterOf({ whenDown: 'local-share' })
    for (const key of ['instances', '{instances}', 'key:instances', '']) expect((await limiter.acquire(key)).allowed).toBe(true)
    expect((await limiter.acquire('instances')).allowed).toBe(true)
  })

  it('is not switched off by a pause of this process', async () => {
    const limiter = limiterOf({ timeoutMs: 100, limit: 1000, periodMs: 1000, burst: 1000 })
    await limiter.acquire('pause')
    const pending = Array.from({ length: 20 }, () => limiter.acquire('pause'))
    for (const until = performance.now() + 400; performance.now() < until; );
    expect((await Promise.all(pending)).filter(({ allowed }) => !allowed)).toEqual([])
    expect((await limiter.acquire('pause')).allowed).toBe(true)
  })

  it('survives a flush of the script cache', async () => {
    await using alone = await startRedis({ fresh: true })
    const own = new Redis(alone.url)
    const limiter = limiterOf({ client: own })
    expect((await limiter.acquire('flushed')).allowed).toBe(true)
    await own.script('FLUSH')
    expect((await limiter.acquire('flushed')).allowed).toBe(true)
    own.disconnect()
  })

  it('asks as soon as there is a connection, when there was none yet', async () => {
    const late = new Redis(server.url, { enableOfflineQueue: false })
    const limiter = limiterOf({ client: late, prefix: 'late:' })
    expect((await limiter.acquire('k')).allowed).toBe(false)
    await once(late, 'ready')
    expect((await limiter.acquire('k')).allowed).toBe(true)
    late.disconnect()
  })

  it('is counted among those that share a limit soon after its first connection', async () => {
    const late = new Redis(server.url, { enableOfflineQueue: false })
    const limiter = limiterOf({ client: late, prefix: 'soon:', whenDown: 'local-share' })
    await limiter.acquire('k')
    await once(late, 'ready')
    const counted = async (): Promise<number> => {
      await limiter.acquire('k')
      return client.zcard('soon:instances')
    }
    // By itself it says so every five seconds.
    await expect.poll(counted, { timeout: 4_000 }).toBe(1)
    late.disconnect()
  })

  it("ends with the caller's own reason, also while Redis is silent", async () => {
    const proxy = await faultProxy(server.url)
    const slow = new Redis(proxy.url)
    slow.on('error', () => {})
    try {
      const limiter = limiterOf({ client: slow, whenDown: 'open' })
      await limiter.acquire('abort')
      proxy.silence()
      const controller = new AbortController()
      const call = settled(limiter.acquire('abort', { signal: controller.signal }))
      controller.abort('left')
      expect(await call).toBe('left')
      expect(await settled(limiter.acquire('abort', { signal: controller.signal }))).toBe('left')
    } finally {
      slow.disconnect()
      await proxy.close()
    }
  })

  it.each([
    ['whenDown', { whenDown: 'ajar' }],
    ['client', { client: {} }],
    ['limit', { limit: 0 }],
    ['redisRateLimiter.rate', { rate: 5 }],
  ])('names a wrong option: %s', (option, wrong) => {
    expect(() => limiterOf(wrong as Partial<RedisRateLimiterOptions>)).toThrow(expect.objectContaining({ option }))
  })
})

describe('while Redis is silent', () => {
  const behindProxy = async (
    options: Partial<RedisRateLimiterOptions>,
    run: (limiter: ReturnType<typeof redisRateLimiter>, proxy: Awaited<ReturnType<typeof faultProxy>>) => Promise<void>,
  ) => {
    const proxy = await faultProxy(server.url)
    const own = new Redis(proxy.url, { retryStrategy: () => 50 })
    own.on('error', () => {})
    try {
      const limiter = redisRateLimiter({ client: own, limit: 100, periodMs: hour, whenDown: 'open', timeoutMs: 10_000, ...options })
      await limiter.acquire('warm-up')
      await run(limiter, proxy)
    } finally {
      own.disconnect()
      await proxy.close()
    }
  }

  it("'open' lets calls through after the timeout, the next ones at once, and counts in Redis again when it is back", async () => {
    await behindProxy({ timeoutMs: 1000, limit: 2 }, async (limiter, proxy) => {
      proxy.silence()
      const startedAt = performance.now()
      for (let i = 0; i < 50; i++) expect((await limiter.acquire('open')).allowed).toBe(true)
      expect(performance.now() - startedAt, 'only the first call waits').toBeLessThan(10_000)
      proxy.cut()
      for (let i = 0; i < 5; i++) expect((await limiter.acquire('open')).allowed).toBe(true)
      proxy.restore()
      await vi.waitFor(async () => expect((await limiter.acquire('open')).allowed).toBe(false), { timeout: 20_000, interval: 50 })
    })
  })

  it("'closed' refuses, and a policy says so", async () => {
    await behindProxy({ whenDown: 'closed', timeoutMs: 50 }, async (limiter, proxy) => {
      proxy.silence()
      const error = await settled(createPolicy({ rateLimit: limiter }).execute(() => 1))
      expect(error).toMatchObject({ code: 'ERR_RESILIENCE_RATE_LIMITED' })
      expect((error as { retryAfterMs: number }).retryAfterMs).toBeGreaterThan(0)
    })
  })

  it("'local-share' lets this process's part through, by the number of processes last seen or told", async () => {
    const count = async (limiter: ReturnType<typeof redisRateLimiter>) => {
      let allowed = 0
      for (let i = 0; i < 200; i++) if ((await limiter.acquire('share')).allowed) allowed++
      return allowed
    }
    await behindProxy({ whenDown: 'local-share', timeoutMs: 2000, instances: 5 }, async (limiter, proxy) => {
      proxy.cut()
      expect(await count(limiter)).toBe(20)
    })
    await client.flushdb()
    const others = [1, 2, 3].map(() => redisRateLimiter({ client, limit: 100, periodMs: hour, whenDown: 'local-share', timeoutMs: 10_000 }))
    for (const other of others) await other.acquire('present')
    await behindProxy({ whenDown: 'local-share', timeoutMs: 2000 }, async (limiter, proxy) => {
      await vi.waitFor(async () => expect(await client.zcard('rate:instances')).toBe(4), patience)
      await limiter.acquire('answered after the presence')
      proxy.cut()
      expect(await count(limiter)).toBe(25)
    })
  })
})

it('four processes with clocks 5 s apart share 100/s', async () => {
  const run = await runFourProcesses(server.url, 3000)
  expect(run.admitted).toBeLessThanOrEqual(run.elapsedMs / 10 + 20 + 5)
  expect(run.admitted).toBeGreaterThan(150)
  expect(run.mostInASecond).toBeLessThanOrEqual(100 + 20 + 4)
})
