import { Cluster, Redis } from 'ioredis'
import { Redis as OldRedis } from 'ioredis5'
import { testRedis } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCache, v8Serializer } from '../index.ts'
import { memory } from './memory.ts'
import { describeCacheDriver } from '../testing/index.ts'
import { redis } from './redis.ts'

const clientsOf: [string, (url: string) => Redis][] = [
  ['redis', (url) => new Redis(url)],
  ['redis by the oldest ioredis', (url) => new OldRedis(url, { keyPrefix: 'old:' }) as unknown as Redis],
]
for (const [name, connect] of clientsOf)
  describeCacheDriver(
    { describe, it, expect },
    {
      name,
      layer: 'shared',
      open: async () => {
        const server = await testRedis()
        const clients: Redis[] = []
        const driver = () => {
          const client = connect(server.url)
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
    // By another connection, and nobody waits for the end of a lease.
    await expect.poll(() => client.exists('app:{misc}:e:long', 'app:{misc}:l:long')).toBe(0)
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

  it('a key that holds something else is repaired and counted, whatever it is, and l2 does not count as away', async () => {
    const cache = createCache({ namespace: 'foreign', l2: redis({ client }), ttlMs: 60_000, leaseWaitMs: 10_000 })
    const name = (kind: string, key: string) => `{foreign}:${kind}:${key}`
    const head = async () => `3:json ${await client.get('{foreign}:t:')} 9999999999999`
    const harm: [string, (key: string) => Promise<unknown>][] = [
      ['a list for an entry', (key) => client.rpush(name('e', key), 'x')],
      ['a foreign text', (key) => client.set(name('e', key), 'hello')],
      ['an empty text', (key) => client.set(name('e', key), '')],
      ['a broken list of tags', async (key) => client.set(name('e', key), `${await head()} ["t\n1`)],
      ['a list of tags that is none', async (key) => client.set(name('e', key), `${await head()} 5\n1`)],
      ['a list of tags with strangers', async (key) => client.set(name('e', key), `${await head()} [1,"1"]\n1`)],
      ['no end of the head', async (key) => client.set(name('e', key), await head())],
      ['no time', async (key) => client.set(name('e', key), `3:json ${await client.get('{foreign}:t:')} soon \n1`)],
      ['a body that is no JSON', async (key) => client.set(name('e', key), `${await head()} \n{`, 'PX', 60_000)],
      ['a set for the lease', (key) => client.sadd(name('l', key), 'x')],
      ['a lease that never ends', (key) => client.set(name('l', key), 'x')],
      ['a list for the version of a tag', (key) => client.del(name('t', key)).then(() => client.rpush(name('t', key), 'x'))],
      ['a text for the version of a tag', (key) => client.set(name('t', key), 'x')],
      ['a list for the log', () => client.del('{foreign}:p').then(() => client.rpush('{foreign}:p', 'x'))],
      ['a text for the log', () => client.set('{foreign}:p', 'x')],
      ['a list for the namespace', () => client.del('{foreign}:t:').then(() => client.rpush('{foreign}:t:', 'x'))],
    ]
    await cache.set('first', 1)
    for (const [index, [what, harmIt]] of harm.entries()) {
      const key = `k${index}`
      await harmIt(key)
      expect([what, await cache.getOrSet(key, () => 'loaded', { tags: [key] })]).toEqual([what, 'loaded'])
      // Where it had to be removed, or only a version was harmed, the first load goes unstored.
      const next = async () => {
        await cache.getOrSet(key, () => 'loaded again', { tags: [key] })
        return [what, (await cache.get<string>(key))?.slice(0, 6)]
      }
      await expect.poll(next).toEqual([what, 'loaded'])
      await cache.deleteByTag(key)
      expect([what, await cache.get(key)]).toEqual([what, undefined])
    }
    expect(cache.stats()).toMatchObject({ errors: 0, pendingInvalidations: 0 })
    expect(cache.stats().faults).toBeGreaterThanOrEqual(11)
    expect(await cache.check()).toBeUndefined()
    await cache.close()
  })

  it('one request to l2 for a hit, with and without tags', async () => {
    const cache = createCache({ namespace: 'trips', l2: redis({ client }), ttlMs: 60_000 })
    await cache.set('k', 1)
    await cache.set('tagged', 1, { tags: ['a', 'b'] })
    const monitor = await client.monitor()
    const seen: string[] = []
    monitor.on('monitor', (_time: string, [command, , , key]: string[], source: string, database: string) => {
      // The server's clock is asked for now and then, and others use the server too.
      if (source !== 'lua' && database === new URL(server.url).pathname.slice(1))
        seen.push(key === '{trips}:t:' ? 'clock' : String(command).toLowerCase())
    })
    const asked = async (key: string, tags: string[]): Promise<string[]> => {
      seen.length = 0
      expect(await cache.getOrSet(key, () => 2, { tags })).toBe(1)
      await client.echo('end')
      await expect.poll(() => seen.at(-1)).toBe('echo')
      return seen.filter((command) => command !== 'clock')
    }
    expect(await asked('k', [])).toEqual(['mget', 'echo'])
    expect(await asked('tagged', ['a', 'b', 'c'])).toEqual(['mget', 'echo'])
    // Tags that the reader does not name are asked for once more, and remembered.
    expect(await asked('tagged', [])).toEqual(['mget', 'evalsha', 'echo'])
    expect(await asked('tagged', [])).toEqual(['mget', 'echo'])
    monitor.disconnect()
    await cache.close()
  })

  it('a binary serializer brings rich values back as they were, the same from both layers', async () => {
    const value = {
      at: new Date(0),
      map: new Map([['k', new Set([1n])]]),
      bytes: Buffer.from([0, 10, 255]),
      numbers: [Number.NaN, -0, Infinity],
      gone: undefined,
      text: 'a\nb\0ü🎉',
    }
    const options = { namespace: 'rich', ttlMs: 60_000, serializer: v8Serializer }
    const [a, b] = [
      createCache({ ...options, l2: redis({ client }) }),
      createCache({ ...options, l2: redis({ client }), l1: memory({ maxBytes: 1e6 }) }),
    ]
    expect(await a.getOrSet('k', () => value, { tags: ['t'] })).toEqual(value)
    expect(await b.getOrSet('k', () => 'not asked')).toEqual(value)
    expect(await b.getOrSet('k', () => 'not asked')).toEqual(value)
    await b.deleteByTag('t')
    expect(await a.get('k')).toBeUndefined()
    const json = createCache({ namespace: 'rich', ttlMs: 60_000, l2: redis({ client }) })
    await a.set('k', value)
    expect(await json.get('k')).toBeUndefined()
    await Promise.all([a.close(), b.close(), json.close()])
  })

  it.each([
    ['this ioredis', (url: string) => new Redis(url, { keyPrefix: 'bytes:' })],
    ['the oldest', (url: string) => new OldRedis(url, { keyPrefix: 'bytes:' }) as unknown as Redis],
  ])('bytes and a keyPrefix, by %s', async (_name, connect) => {
    const prefixed = connect(server.url)
    const cache = createCache({ namespace: 'bytes', l2: redis({ client: prefixed }), ttlMs: 60_000, serializer: v8Serializer })
    const load = (value: unknown) => () => ({ value, at: new Date(0) })
    expect(await cache.getOrSet('k', load('old'), { tags: ['t'] })).toEqual({ value: 'old', at: new Date(0) })
    expect(await cache.getOrSet('k', load('not asked'), { tags: ['t'] })).toEqual({ value: 'old', at: new Date(0) })
    expect(await cache.getOrSet('k', load('not asked'))).toEqual({ value: 'old', at: new Date(0) })
    expect(await client.exists('bytes:{bytes}:e:k', 'bytes:{bytes}:t:t')).toBe(2)
    await cache.deleteByTag('t')
    expect(await cache.getOrSet('k', load('new'))).toMatchObject({ value: 'new' })
    expect(await client.keys('{bytes}:*')).toEqual([])
    await cache.close()
    await client.del(await client.keys('bytes:*'))
    prefixed.disconnect()
  })

  it('what Redis answered while this process stood still counts as answered in time', async () => {
    const options = { namespace: 'stalled', l2: redis({ client }), ttlMs: 60_000, l2HardTimeoutMs: 100 }
    const cache = createCache(options)
    await cache.ready()
    const stall = (): void => {
      for (const until = performance.now() + 600; performance.now() < until; );
    }
    const calls: [string, () => Promise<unknown>, unknown][] = [
      ['set', () => cache.set('k', 1), undefined],
      ['get', () => cache.get('k'), 1],
      ['delete', () => cache.delete('other'), undefined],
      ['deleteByTag', () => cache.deleteByTag('t'), undefined],
    ]
    for (const [name, call, expected] of calls) {
      const asked = call().catch((error: { code?: string }) => error.code)
      await Promise.resolve()
      stall()
      expect([name, await asked]).toEqual([name, expected])
    }
    await cache.close()
  })

  it('refuses a cluster that reads from replicas', () => {
    const connect = (scaleReads: 'all' | 'master') => new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true, scaleReads })
    expect(() => redis({ client: connect('all') })).toThrow(expect.objectContaining({ code: 'ERR_CACHE_OPTION' }))
    expect(redis({ client: connect('master') }).name).toBe('redis')
  })

  it('a clock of the server that jumps changes nothing but times to live', async () => {
    for (const [name, by] of [
      ['ahead', 900],
      ['behind', -900],
    ] as const) {
      const make = () => createCache({ namespace: `clock-${name}`, l2: redis({ client }), ttlMs: 60_000 })
      const [a, b] = [make(), make()]
      await a.set('k', 1, { tags: ['t'] })
      // As if the clock had jumped since the log was seeded from it.
      const seeded = Number(await client.get(`{clock-${name}}:p`))
      await client.set(`{clock-${name}}:p`, String(seeded + by * 1_000_000))
      for (let version = 2; version < 6; version++) {
        await a.deleteByTag('t')
        expect([await b.getOrSet('k', () => version, { tags: ['t'] }), await a.getOrSet('k', () => 0, { tags: ['t'] })]).toEqual([
          version,
          version,
        ])
        await b.clear()
        expect([await a.getOrSet('k', () => -version, { tags: ['t'] }), await b.getOrSet('k', () => 0)]).toEqual([-version, -version])
      }
      await Promise.all([a.close(), b.close()])
    }
  })

  it('a process that died while it loaded is replaced after its lease; one that hangs hands over', async () => {
    const make = (leaseMs?: number) =>
      createCache({ namespace: `lease-${leaseMs}`, l2: redis({ client }), ttlMs: 60_000, leaseMs, leaseWaitMs: 60_000 })
    const store = redis({ client }).open({
      namespace: 'lease-undefined',
      format: 'json',
      binary: false,
      onError: () => {},
      onFault: () => {},
    })
    await store.read([{ key: 'k', tags: [], lease: { token: 'dead', leaseMs: 1_500, earlyMs: 0, awaits: false } }])
    const startedAt = performance.now()
    const cache = make()
    expect(await cache.getOrSet('k', () => 'alive')).toBe('alive')
    expect(performance.now() - startedAt).toBeLessThan(2_500)
    expect(await cache.get('k')).toBe('alive')
    await cache.close()

    const [hung, other] = [make(400), make(400)]
    const gate = Promise.withResolvers<string>()
    const slow = hung.getOrSet('k', () => gate.promise)
    const alone = hung.getOrSet('alone', () => gate.promise)
    expect(await other.getOrSet('k', () => 'taken over')).toBe('taken over')
    gate.resolve('late')
    expect([await slow, await alone]).toEqual(['late', 'late'])
    expect(await other.get('k')).toBe('taken over')
    expect(await other.get('alone')).toBe('late')
    await Promise.all([hung.close(), other.close()])
  })

  it('the life of a tag follows the life of what carries it', async () => {
    const cache = createCache({ namespace: 'life', l2: redis({ client }), ttlMs: 1_000 })
    await cache.set('k', 1, { tags: ['t'] })
    expect(await client.pttl('{life}:t:t')).toBeLessThanOrEqual(2_000)
    await cache.set('k', 1, { tags: ['t'], ttlMs: 600_000 })
    expect(await client.pttl('{life}:t:t')).toBeGreaterThan(540_000)
    await cache.close()
  })
})
