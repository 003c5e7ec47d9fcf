import { Redis } from 'ioredis'
import { Redis as OldRedis } from 'ioredis5'
import { testRedis } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCache } from '../index.ts'
import { memory } from './memory.ts'
import { redis, redisBus } from './redis.ts'

let server: Awaited<ReturnType<typeof testRedis>>
beforeAll(async () => {
  server = await testRedis()
})
afterAll(() => server.close())

describe('a client that is lent', () => {
  const clients: [string, (options: object) => Redis][] = [
    ['ioredis', (options) => new Redis(server.url, options)],
    ['the oldest ioredis', (options) => new OldRedis(server.url, options) as unknown as Redis],
  ]
  const kinds: [string, object][] = [
    ['hand out numbers as texts', { stringNumbers: true }],
    ['make pipelines of its own', { enableAutoPipelining: true }],
    ['be unconnected, without a queue', { lazyConnect: true, enableOfflineQueue: false }],
    ['not ask whether the server is ready', { enableReadyCheck: false }],
    ['have a prefix with braces', { keyPrefix: 'é{x}:' }],
  ]
  for (const [version, connect] of clients)
    it.each(kinds)(`${version}: may %s`, async (kind, options) => {
      const namespace = `${version} ${kind}`.replace(/\W/g, '-')
      const client = connect(options)
      const make = () =>
        createCache({
          namespace,
          l1: memory({ maxBytes: 1e6 }),
          l2: redis({ client }),
          bus: redisBus({ client, heartbeatMs: 2_000 }),
          ttlMs: 60_000,
          suspectTtlMs: 0,
          leaseMs: 60_000,
          leaseWaitMs: 60_000,
          l2HardTimeoutMs: 10_000,
        })
      const [a, b] = [make(), make()]
      await Promise.all([a.ready(), b.ready()])
      const source = Promise.withResolvers<string>()
      const started = Promise.withResolvers<void>()
      const loading = a.getOrSet('k', async (entry) => {
        entry.tag('t')
        started.resolve()
        return source.promise
      })
      await started.promise
      const waiting = b.getOrSet('k', () => 'not asked')
      // It waits to be told the end: a third of the lease, when it would ask again, is longer than a test may take.
      await expect.poll(() => client.get(`{${namespace}}:l:k`)).toMatch(/^!/)
      source.resolve('loaded')
      expect(await Promise.all([loading, waiting])).toEqual(['loaded', 'loaded'])
      for (const cache of [a, b]) expect((await cache.explain('k')).l1).toMatchObject({ state: 'fresh', tags: ['t'] })
      await b.deleteByTag('t')
      await expect.poll(() => a.get('k')).toBeUndefined()
      await Promise.all([a.close(), b.close()])
      await client.del(`{${namespace}}:r`)
      client.disconnect()
    })

  it('may be lent to many caches: no warning of a leak, and nothing is left on it', async () => {
    const client = new Redis(server.url)
    const warned: Error[] = []
    const onWarning = (warning: Error): unknown => warned.push(warning)
    process.on('warning', onWarning)
    const before = { most: client.getMaxListeners(), listeners: client.listenerCount('close') }
    const caches = Array.from({ length: 20 }, (_, n) => createCache({ namespace: `many-${n}`, l2: redis({ client }), ttlMs: 60_000 }))
    await Promise.all(caches.map((cache) => cache.ready()))
    await Promise.all(caches.map((cache) => cache.close()))
    await new Promise(setImmediate)
    process.off('warning', onWarning)
    expect(warned).toEqual([])
    expect({ most: client.getMaxListeners(), listeners: client.listenerCount('close') }).toEqual(before)
    client.disconnect()
  })
})

describe('a connection of our own', () => {
  it('is closed again when the rest of the cache cannot be made', async () => {
    const client = new Redis(server.url)
    const connections = async (): Promise<string[]> =>
      [...String(await client.client('LIST')).matchAll(/\bid=(\d+)/g)].map(([, id]) => id as string)
    const bus = redisBus({ client })
    const owner = createCache({ namespace: 'owner', l1: memory({ maxBytes: 1e6 }), bus, ttlMs: 60_000 })
    await owner.ready()
    const before = new Set(await connections())
    const urls = Array.from({ length: 5 }, () => server.url)
    for (const url of urls) {
      const make = () => createCache({ namespace: 'half', l1: memory({ maxBytes: 1e6 }), l2: redis({ url }), bus, ttlMs: 60_000 })
      expect(make).toThrow(expect.objectContaining({ code: 'ERR_CACHE_OPTION' }) as Error)
    }
    // By when these are there, those from before would be.
    const later = urls.map((url) => new Redis(url))
    await Promise.all(later.map((each) => each.ping()))
    await expect.poll(async () => (await connections()).filter((id) => !before.has(id)).length).toBe(later.length)
    for (const each of later) each.disconnect()
    await owner.close()
    client.disconnect()
  })

  it.each(['redis://[bad', 'redis://:pass word@a host', 'redis://localhost:port', 'redis://me:%zz@localhost', 'http://localhost', ''])(
    'a URL that is none is refused, and not quoted: %s',
    (url) => {
      for (const make of [redis, redisBus]) {
        expect(() => make({ url })).toThrow(expect.objectContaining({ code: 'ERR_CACHE_OPTION' }) as Error)
        expect(() => make({ url })).not.toThrow(url || 'undefined')
      }
    },
  )
})
