import { Redis } from 'ioredis'
import { testRedis } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCache } from '../index.ts'
import { describeCacheDriver } from '../testing/index.ts'
import { redis } from './redis.ts'

describeCacheDriver(
  { describe, it, expect },
  {
    name: 'redis',
    layer: 'shared',
    open: async () => {
      const server = await testRedis()
      const clients: Redis[] = []
      const driver = () => {
        const client = new Redis(server.url)
        clients.push(client)
        return redis({ client })
      }
      const close = async () => {
        for (const client of clients) client.disconnect()
        await server.close()
      }
      return { driver, close }
    },
  },
)

describe('redis', () => {
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

  it('opens and closes its own connection, and leaves a lent one open', async () => {
    const own = createCache({ namespace: 'own', l2: redis({ url: server.url }), ttlMs: 60_000 })
    await own.ready()
    await own.set('k', 1)
    expect(await own.get('k')).toBe(1)
    await own.close()
    await expect(own.get('k')).rejects.toMatchObject({ code: 'ERR_CACHE_CLOSED' })
    const lent = createCache({ namespace: 'own', l2: redis({ client }), ttlMs: 60_000 })
    expect(await lent.get('k')).toBe(1)
    await lent.close()
    expect(await client.ping()).toBe('PONG')
  })

  it('tag versions that Redis has evicted, and a Redis that was emptied, cost loads and never bring back an old value', async () => {
    const cache = createCache({ namespace: 'evicted', l2: redis({ client }), ttlMs: 60_000 })
    await cache.set('k', 'old', { tags: ['t'] })
    await client.del('{evicted}:t:t')
    expect(await cache.get('k')).toBeUndefined()
    await cache.set('k', 'old', { tags: ['t'] })
    await cache.deleteByTag('t')
    await client.del('{evicted}:t:t', '{evicted}:p')
    expect(await cache.getOrSet('k', () => 'new', { tags: ['t'] })).toBe('new')

    const gate = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    const load = cache.getOrSet('late', async (entry) => {
      started.resolve()
      await gate.promise
      entry.tag('t2')
      return 'old'
    })
    await started.promise
    const other = createCache({ namespace: 'evicted', l2: redis({ client }), ttlMs: 60_000 })
    await other.deleteByTag('t2')
    await other.close()
    await client.del('{evicted}:t:t2')
    gate.resolve()
    await load
    expect(await cache.get('late')).toBeUndefined()
    await cache.close()
  })

  it('leaves nothing behind for ever but the position of the log', async () => {
    const cache = createCache({ namespace: 'ttl', l2: redis({ client }), ttlMs: 60_000, staleIfErrorMs: 30_000 })
    await cache.getOrSet('k', () => 1, { tags: ['t'] })
    await cache.deleteByTag('other')
    const keys = (await client.keys('{ttl}:*')).sort()
    expect(keys).toEqual(['{ttl}:e:k', '{ttl}:p', '{ttl}:r', '{ttl}:t:', '{ttl}:t:other', '{ttl}:t:t'])
    for (const key of keys.filter((name) => !/:[pr]$/.test(name))) expect(await client.pttl(key)).toBeGreaterThan(50_000)
    expect(await client.pttl('{ttl}:e:k')).toBeLessThanOrEqual(90_000)
    await cache.close()
  })

  it('respects keyPrefix, does not store what is too long, and takes entries of another format for misses', async () => {
    const prefixed = new Redis(server.url, { keyPrefix: 'app:' })
    const cache = createCache({ namespace: 'misc', l2: redis({ client: prefixed }), ttlMs: 60_000, maxEntryBytes: 100 })
    await cache.set('k', 1, { tags: ['t'] })
    expect(await client.exists('app:{misc}:e:k', 'app:{misc}:t:t')).toBe(2)
    await cache.deleteByTag('t')
    expect(await cache.get('k')).toBeUndefined()
    await cache.set('k', 1)
    await client.set('app:{misc}:e:k', '1:json 0 0 \n1')
    expect(await cache.getOrSet('k', () => 2)).toBe(2)
    expect(await cache.getOrSet('long', () => 'x'.repeat(200))).toHaveLength(200)
    expect(await client.exists('app:{misc}:e:long', 'app:{misc}:l:long')).toBe(0)
    await cache.close()
    prefixed.disconnect()
  })

  it('a stale copy is served while one process refreshes it', async () => {
    const options = { namespace: 'swr', ttlMs: 50, staleWhileRevalidateMs: 60_000 }
    const [a, b] = [createCache({ ...options, l2: redis({ client }) }), createCache({ ...options, l2: redis({ client }) })]
    await a.set('k', 'old')
    await expect.poll(() => a.get('k')).toBeUndefined()
    const refresh = Promise.withResolvers<string>()
    expect(await a.getOrSet('k', () => refresh.promise)).toBe('old')
    expect(await b.getOrSet('k', () => Promise.reject(new Error('not asked')))).toBe('old')
    expect(b.stats()).toMatchObject({ stale: 1, errors: 0 })
    refresh.resolve('new')
    await expect.poll(() => b.getOrSet('k', () => Promise.reject(new Error('not asked')))).toBe('new')
    await Promise.all([a.close(), b.close()])
  })
})
