import { testRedis } from '@platform/stack/testing'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { cachesWith } from '../caches.fixture.ts'
import { memory } from '../drivers/memory.ts'
import { redis, redisBus, type RedisConnectionOptions } from '../drivers/redis.ts'
import type { Cache, CopyExplanation } from '../index.ts'

let server: Awaited<ReturnType<typeof testRedis>>
let client: Redis
const cacheWith = cachesWith(() => ({ namespace: 'one-step', l1: memory({ maxBytes: 1e7 }), ttlMs: 600_000, l2HardTimeoutMs: 10_000 }))

beforeAll(async () => {
  server = await testRedis()
  client = new Redis(server.url)
})
afterAll(async () => {
  client.disconnect()
  await server.close()
})
afterEach(() => {
  vi.restoreAllMocks()
})

let spaces = 0
const overRedis = (namespace: string, connection: RedisConnectionOptions): Cache =>
  cacheWith({ namespace, l2: redis(connection), bus: redisBus({ ...connection, heartbeatMs: 5_000 }) })
const hasCopy = async (cache: Cache, key: string): Promise<boolean> => ((await cache.explain(key)).l1 as CopyExplanation).state === 'fresh'

/** One that writes and one that has copies, over one namespace and ready. */
async function processes(connection: RedisConnectionOptions = { client }): Promise<[Cache, Cache]> {
  const namespace = `one-step-${++spaces}`
  const made: [Cache, Cache] = [overRedis(namespace, connection), overRedis(namespace, { url: server.url })]
  await Promise.all(made.map((cache) => cache.ready()))
  return made
}

describe('l2 and bus on one server', () => {
  const many = Array.from({ length: 1_200 }, (_, index) => `k${index}`)
  const keys = [...many, 'k']
  const writes: [string, (cache: Cache) => Promise<unknown>, string[]][] = [
    ['a delete', (cache) => cache.delete('k'), ['k']],
    ['a deleteByTag', (cache) => cache.deleteByTag('t'), ['k']],
    ['a set', (cache) => cache.set('k', 'new'), ['k']],
    ['a clear', (cache) => cache.clear(), keys],
    ['a delete of more than one command takes', (cache) => cache.deleteMany(many), many],
    ['hundreds of sets at once', (cache) => Promise.all(many.slice(300).map((key) => cache.set(key, 'new'))), many.slice(300)],
  ]
  it.each(writes)('%s is told with the same command: the writer publishes nothing besides', async (_name, write, concerned) => {
    const [writer, reader] = await processes()
    await reader.getOrSetMany(keys, (missing) => new Map(missing.map((key) => [key, 'old'])), { tags: ['t'] })
    const publish = vi.spyOn(client, 'publish')
    await write(writer)
    const copies = () => Promise.all(concerned.map((key) => hasCopy(reader, key)))
    await expect.poll(copies).not.toContain(true)
    expect(publish).not.toHaveBeenCalled()
  })

  it.each([
    ['by one client', () => ({ client })],
    ['by one URL', () => ({ url: server.url })],
  ])('%s: messages stay in their order, whatever is written at once', async (_name, connection) => {
    const [writer, reader] = await processes(connection())
    await reader.set('stays', 1)
    for (let round = 0; round < 5; round++)
      await Promise.all([
        ...Array.from({ length: 50 }, (_, index) => writer.set(`s${index}`, round)),
        writer.delete('d'),
        writer.deleteByTag('t'),
        writer.deleteMany(many),
      ])
    await reader.getOrSet('last', () => 1)
    await writer.delete('last')
    await expect.poll(() => hasCopy(reader, 'last')).toBe(false)
    // A hole, or two that have changed places, would have emptied l1.
    expect(await hasCopy(reader, 'stays')).toBe(true)
  })

  it.each([
    ['the command', ['&*', '-publish']],
    ['the channel', ['resetchannels']],
  ])('a user who may not publish, for want of %s: l2 takes it and stays in use, the call tells what is missing', async (_name, rules) => {
    const user = `one-step-mute-${++spaces}`
    await client.call('ACL', 'SETUSER', user, 'on', '>password', '~*', '+@all', ...rules)
    const mute = new Redis(Object.assign(new URL(server.url), { username: user, password: 'password' }).href)
    mute.on('error', () => undefined)
    const writer = overRedis(user, { client: mute })
    const other = cacheWith({ namespace: user, l1: undefined, l2: redis({ client }) })
    for (const key of ['k', 'stays']) await other.set(key, 'old')
    const refused = { code: 'ERR_CACHE_INVALIDATION_PENDING', cause: { code: 'ERR_CACHE_REFUSED' } }
    await expect(writer.delete('k')).rejects.toMatchObject(refused)
    await expect(writer.set('set', 'new')).rejects.toMatchObject(refused)
    expect(await Promise.all(['k', 'stays', 'set'].map((key) => other.get(key)))).toEqual([undefined, 'old', 'new'])
    expect(await writer.get('stays')).toBe('old')
    await writer.close({ timeoutMs: 0 })
    mute.disconnect()
    await client.call('ACL', 'DELUSER', user)
  })
})
