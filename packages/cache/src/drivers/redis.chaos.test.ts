import { setTimeout } from 'node:timers/promises'
import { startRedis } from '@platform/stack'
import { Cluster, type ClusterOptions, Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCache, type Cache, v8Serializer } from '../index.ts'
import { describeCacheDriver } from '../testing/index.ts'
import { memory } from './memory.ts'
import { redis, redisBus } from './redis.ts'

type Server = Awaited<ReturnType<typeof startRedis>>

/** A cluster of one node, which owns every slot. */
async function startCluster(): Promise<Server> {
  const server = await startRedis({ fresh: true, settings: { 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' } })
  const client = new Redis(server.url)
  await client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  while (!String(await client.call('CLUSTER', 'INFO')).includes('cluster_state:ok')) await setTimeout(50)
  client.disconnect()
  return server
}

function connect(server: Server, keyPrefix = '', options: ClusterOptions = {}): Cluster {
  const { hostname, port, username, password } = new URL(server.url)
  const redisOptions = { ...(username && { username }), ...(password && { password }) }
  return new Cluster([{ host: hostname, port: Number(port) }], { ...options, keyPrefix, redisOptions })
}

describe('Redis Cluster', () => {
  let server: Server
  beforeAll(async () => {
    server = await startCluster()
  })
  afterAll(() => server.stop())

  describeCacheDriver(
    { describe, it, expect },
    {
      name: 'redis cluster',
      layer: 'shared',
      open: async () => {
        const clients: Cluster[] = []
        const driver = () => {
          const client = connect(server, 'app:')
          clients.push(client)
          return redis({ client })
        }
        const close = async () => {
          const [client] = clients
          await client?.flushall()
          for (const each of clients) each.disconnect()
        }
        return { driver, close }
      },
    },
  )

  it('bytes and a keyPrefix', async () => {
    const client = connect(server, 'bytes:')
    const cache = createCache({ namespace: 'bytes', l2: redis({ client }), ttlMs: 60_000, serializer: v8Serializer })
    const load = () => new Map([['at', new Date(0)]])
    expect(await cache.getOrSet('k', load, { tags: ['t'] })).toEqual(load())
    for (const tags of [['t'], []]) expect(await cache.getOrSet('k', () => 'not asked', { tags })).toEqual(load())
    await cache.deleteByTag('t')
    expect(await cache.get('k')).toBeUndefined()
    await cache.close()
    client.disconnect()
  })

  it.each([{}, { lazyConnect: true }])('the bus works over it, too: %o', async (options) => {
    const client = connect(server, '', options)
    const make = () =>
      createCache({
        namespace: `bus-${options.lazyConnect ?? false}`,
        l1: memory({ maxBytes: 1e6 }),
        l2: redis({ client }),
        bus: redisBus({ client, heartbeatMs: 500 }),
        ttlMs: 600_000,
      })
    const caches = [make(), make()] as [Cache, Cache]
    await Promise.all(caches.map((cache) => cache.ready()))
    for (const cache of caches) expect(await cache.getOrSet('k', () => 'old')).toBe('old')
    await caches[0].delete('k')
    await expect.poll(() => caches[1].getOrSet('k', () => 'new')).toBe('new')
    await Promise.all(caches.map((cache) => cache.close()))
    client.disconnect()
  })
})

it('a Redis to which the scripts are new hears the first message as the first; one that has forgotten them costs copies, and no message', async () => {
  const server = await startRedis({ fresh: true })
  const { url } = server
  const make = () =>
    createCache({
      namespace: 'scripts',
      l1: memory({ maxBytes: 1e6 }),
      l2: redis({ url }),
      bus: redisBus({ url, heartbeatMs: 5_000 }),
      ttlMs: 600_000,
      l2HardTimeoutMs: 10_000,
    })
  const [writer, reader] = [make(), make()]
  await Promise.all([writer.ready(), reader.ready()])
  for (const key of ['first', 'second', 'stays']) await reader.getOrSet(key, () => 'old')
  await writer.delete('first')
  await expect.poll(async () => (await reader.explain('first')).l1).toEqual({ state: 'absent' })
  expect((await reader.explain('stays')).l1).toMatchObject({ state: 'fresh' })
  const client = new Redis(url)
  await client.script('FLUSH')
  await writer.delete('second')
  await expect.poll(async () => (await reader.explain('second')).l1).toEqual({ state: 'absent' })
  await Promise.all([writer.close(), reader.close()])
  client.disconnect()
  await server.stop()
})

describe('a Redis that lost what it had said', () => {
  it('comes back from an older snapshot: nothing that was invalidated since is read again', async () => {
    const server = await startRedis({ fresh: true, settings: { save: '3600 100000' } })
    const client = new Redis(server.url)
    const make = () => createCache({ namespace: 'snapshot', l2: redis({ url: server.url }), ttlMs: 600_000, staleIfErrorMs: 600_000 })
    const before = make()
    await before.ready()
    for (const key of ['deleted', 'tagged', 'cleared']) await before.set(key, 'old', { tags: ['t'] })
    await client.call('SAVE')
    await before.delete('deleted')
    await before.deleteByTag('t')
    await before.clear()
    client.disconnect()
    await server.kill()
    await server.restart()
    // The process that was there, and one that has not seen the server before.
    const after = make()
    await Promise.all([before.ready(), after.ready()])
    for (const cache of [after, before])
      for (const key of ['deleted', 'tagged', 'cleared'])
        expect(await cache.getOrSet(key, () => Promise.reject(new Error('down'))).catch((error: Error) => error.message)).toBe('down')
    expect(await after.getOrSet('deleted', () => 'new')).toBe('new')
    await expect.poll(() => before.get('deleted')).toBe('new')
    await Promise.all([before.close(), after.close()])
    await server.stop()
  })

  it('an answer to what a lent client has sent again to the server that came back counts for nothing', async () => {
    const server = await startRedis({ fresh: true, settings: { save: '3600 100000' } })
    const client = new Redis(server.url).on('error', () => undefined)
    const options = { namespace: 'again', ttlMs: 600_000, l2HardTimeoutMs: 60_000 }
    const cache = createCache({ ...options, l2: redis({ client }) })
    const other = createCache({ ...options, l2: redis({ url: server.url }) })
    await Promise.all([cache.ready(), other.ready()])
    const tags = ['t']
    for (const key of ['plain', 'tagged']) await cache.set(key, 'old', key === 'tagged' ? { tags } : {})
    await client.call('SAVE')
    await other.clear()
    server.freeze()
    const asked = ['plain', 'tagged'].flatMap((key) => [cache.get(key), cache.getOrSet(key, () => 'new', { tags })])
    await setTimeout(50)
    await server.kill()
    await server.restart()
    expect(await Promise.all(asked)).toEqual([undefined, 'new', undefined, 'new'])
    await Promise.all([cache.close({ timeoutMs: 0 }), other.close({ timeoutMs: 0 })])
    client.disconnect()
    await server.stop()
  })

  it('full memory: what cannot be stored is not there, and every invalidation is taken', async () => {
    const server = await startRedis({ fresh: true, settings: { maxmemory: '4mb', 'maxmemory-policy': 'noeviction' } })
    const client = new Redis(server.url)
    const make = () => createCache({ namespace: 'full', l2: redis({ url: server.url }), ttlMs: 600_000, l2HardTimeoutMs: 10_000 })
    const [a, b] = [make(), make()]
    const withCopies = () =>
      createCache({
        namespace: 'full-with-copies',
        l1: memory({ maxBytes: 1e6 }),
        l2: redis({ url: server.url }),
        bus: redisBus({ url: server.url, heartbeatMs: 5_000 }),
        ttlMs: 600_000,
        l2HardTimeoutMs: 10_000,
      })
    const [writer, reader] = [withCopies(), withCopies()]
    await Promise.all([a, b, writer, reader].map((cache) => cache.ready()))
    for (const key of ['stays', 'set']) await reader.set(key, 'old')
    for (const key of ['key', 'tagged', 'set', 'all']) await a.set(key, 'old', { tags: [key] })
    for (let index = 0; ; index++)
      if (
        await client.set(`fill:${index}`, 'x'.repeat(10_000)).then(
          () => false,
          () => true,
        )
      )
        break
    for (let index = 0; ; index++)
      if (
        await client.set(`fine:${index}`, 'x').then(
          () => false,
          () => true,
        )
      )
        break
    await writer.set('set', 'new'.repeat(10_000))
    await expect.poll(async () => (await reader.explain('set')).l1).toEqual({ state: 'absent' })
    // Of the messages none is missing.
    expect((await reader.explain('stays')).l1).toMatchObject({ state: 'fresh' })
    await a.delete('key')
    await a.deleteByTag('tagged')
    await a.set('set', 'new'.repeat(10_000))
    expect(await Promise.all(['key', 'tagged'].map((key) => b.get(key)))).toEqual([undefined, undefined])
    expect(await b.get('set')).not.toBe('old')
    expect(await b.get('all')).toBe('old')
    await a.deleteByTag(Array.from({ length: 100 }, (_, index) => `new tag ${index}`))
    await a.clear()
    expect(await b.get('all')).toBeUndefined()
    for (let index = 0; index < 50; index++) expect(await b.getOrSet(`k${index}`, () => 'x'.repeat(50_000))).toHaveLength(50_000)
    expect(b.stats()).toMatchObject({ errors: 0, pendingInvalidations: 0 })
    // It is full, not away.
    expect(await b.check()).toBeUndefined()
    await client.flushall()
    expect(await b.getOrSet('k', () => 'stored')).toBe('stored')
    expect(await a.get('k')).toBe('stored')
    await Promise.all([a, b, writer, reader].map((cache) => cache.close()))
    client.disconnect()
    await server.stop()
  })
})
