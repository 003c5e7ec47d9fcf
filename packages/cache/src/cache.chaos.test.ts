import { createDbPool } from '@platform/db-pool'
import { faultProxy, startPostgres, startRedis } from '@platform/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBus } from './buses/postgres.ts'
import { memory } from './drivers/memory.ts'
import { redis, redisBus } from './drivers/redis.ts'
import { createCache, type Cache, type CacheOptions } from './index.ts'

const long = { timeout: 30_000 }

describe('Redis killed and frozen', () => {
  let server: Awaited<ReturnType<typeof startRedis>>
  let caches: Cache[]
  const options = (): CacheOptions => ({
    namespace: 'chaos',
    l1: memory({ maxBytes: 1e6 }),
    l2: redis({ url: server.url }),
    bus: redisBus({ url: server.url, heartbeatMs: 200 }),
    ttlMs: 600_000,
    suspectTtlMs: 50,
  })
  beforeAll(async () => {
    server = await startRedis({ fresh: true })
    caches = [createCache(options()), createCache(options())]
    await Promise.all(caches.map((cache) => cache.ready()))
  })
  afterAll(async () => {
    await Promise.all(caches.map((cache) => cache.close({ timeoutMs: 500 })))
    await server.stop()
  })

  const faults: [string, () => Promise<void> | void, () => Promise<void> | void][] = [
    ['killed', () => server.kill(), () => server.restart()],
    ['frozen', () => server.freeze(), () => server.thaw()],
  ]
  for (const [name, fault, repair] of faults)
    it(`${name}: every request is answered, what was invalidated meanwhile is delivered, and all is coherent again`, async () => {
      const [a, b] = caches as [Cache, Cache]
      await expect.poll(() => caches.map((cache) => cache.stats().coherence), long).toEqual(['coherent', 'coherent'])
      let version = 1
      const ask = (cache: Cache) => cache.getOrSet('k', () => version, { tags: ['t'] })
      await a.delete('k')
      await expect.poll(() => ask(b), long).toBe(1)
      await ask(a)
      await fault()
      await expect.poll(() => caches.map((cache) => cache.stats().coherence), long).toEqual(['suspect', 'suspect'])
      version = 2
      await expect(a.deleteByTag('t')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
      expect(await ask(a)).toBe(2)
      await expect.poll(() => ask(b), long).toBe(2)
      for (let index = 0; index < 50; index++) expect(await b.getOrSet(`k${index}`, () => index)).toBe(index)
      expect(b.stats().errors).toBe(0)
      expect(await a.check()).toMatchObject({ status: 'warn' })
      await repair()
      await expect.poll(() => caches.map((cache) => cache.stats().coherence), long).toEqual(['coherent', 'coherent'])
      await expect.poll(() => a.stats().pendingInvalidations, long).toBe(0)
      expect([await ask(a), await ask(b)]).toEqual([2, 2])
      await expect.poll(async () => (await a.check()) ?? 'well', long).toBe('well')
      version = 3
      await a.delete('k')
      await expect.poll(() => ask(b), long).toBe(3)
    })
})

/** Writers go on while the bus is cut; when it stands again and all is delivered, nobody may see an old value. */
async function cutWhileWriting(
  caches: readonly Cache[],
  cuts: number,
  cut: () => Promise<void>,
): Promise<{ stale: string[]; written: number }> {
  const keys = Array.from({ length: 20 }, (_, index) => `k${index}`)
  const source = new Map(keys.map((key) => [key, 0]))
  let stop = false
  const reader = async (cache: Cache) => {
    while (!stop) {
      for (const key of keys)
        await cache.getOrSet(key, (entry) => {
          entry.tag(`tag-${key}`)
          return source.get(key) as number
        })
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  let written = 0
  const writer = async (cache: Cache) => {
    while (!stop) {
      const key = keys[written++ % keys.length] as string
      source.set(key, (source.get(key) as number) + 1)
      const done = written % 2 === 0 ? cache.delete(key) : cache.deleteByTag(`tag-${key}`)
      await done.catch(() => undefined)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
  const work = caches.flatMap((cache) => [reader(cache), writer(cache)])
  for (let round = 0; round < cuts; round++) await cut()
  stop = true
  await Promise.all(work)
  await expect.poll(() => caches.map((cache) => cache.stats().pendingInvalidations), long).toEqual(caches.map(() => 0))
  await expect.poll(() => caches.map((cache) => cache.stats().coherence), long).toEqual(caches.map(() => 'coherent'))
  // One more message through the same bus: when it has arrived, everything before it has.
  for (const cache of caches) await cache.getOrSet('last', () => 1)
  await (caches[0] as Cache).delete('last')
  for (const cache of caches) await expect.poll(() => cache.get('last'), long).toBeUndefined()
  const stale: string[] = []
  for (const [index, cache] of caches.entries())
    for (const key of keys) {
      const got = await cache.getOrSet(key, () => source.get(key) as number)
      if (got !== source.get(key)) stale.push(`cache ${index}, ${key}: ${got} instead of ${source.get(key)}`)
    }
  return { stale, written }
}
const pause = (delayMs: number) => new Promise((resolve) => setTimeout(resolve, delayMs))

describe('the bus is cut again and again while two processes write', () => {
  it('Redis: no stale read after all has settled', { timeout: 120_000 }, async () => {
    const server = await startRedis({ fresh: true })
    const proxy = await faultProxy(server.url)
    const make = (url: string) =>
      createCache({
        namespace: 'cut',
        l1: memory({ maxBytes: 1e6 }),
        bus: redisBus({ url, heartbeatMs: 100 }),
        ttlMs: 600_000,
        suspectTtlMs: 20,
      })
    const caches = [make(proxy.url), make(server.url)]
    await Promise.all(caches.map((cache) => cache.ready()))
    let round = 0
    const { stale, written } = await cutWhileWriting(caches, 100, async () => {
      if (++round % 4 === 0) proxy.silence()
      else proxy.cut()
      await pause(30)
      proxy.restore()
      await pause(90)
    })
    expect(stale).toEqual([])
    expect(written).toBeGreaterThan(50)
    await Promise.all(caches.map((cache) => cache.close()))
    await proxy.close()
    await server.stop()
  })

  it('PostgreSQL: no stale read after all has settled', { timeout: 120_000 }, async () => {
    const server = await startPostgres({ fresh: true })
    const proxy = await faultProxy(server.url)
    const pools = [createDbPool({ url: proxy.url, acquireTimeoutMs: 2_000 }), createDbPool({ url: server.url })]
    const caches = pools.map((db) =>
      createCache({
        namespace: 'cut',
        l1: memory({ maxBytes: 1e6 }),
        bus: postgresBus({ db, heartbeatMs: 100 }),
        ttlMs: 600_000,
        suspectTtlMs: 20,
      }),
    )
    await Promise.all(caches.map((cache) => cache.ready()))
    const { stale, written } = await cutWhileWriting(caches, 20, async () => {
      proxy.cut()
      await pause(50)
      proxy.restore()
      await pause(150)
    })
    expect(stale).toEqual([])
    expect(written).toBeGreaterThan(50)
    await Promise.all(caches.map((cache) => cache.close()))
    await Promise.all(pools.map((db) => db.close()))
    await proxy.close()
    await server.stop()
  })
})
