import { inspect } from 'node:util'
import { createDbPool, type DbPool } from '@platform/db-pool'
import { faultProxy, startRedis, type Server } from '@platform/stack'
import { testPostgres, testRedis } from '@platform/stack/testing'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { formatMessage } from '../bus-message.ts'
import { cachesWith } from '../caches.fixture.ts'
import { memory } from '../drivers/memory.ts'
import { redis, redisBus } from '../drivers/redis.ts'
import { HeldBus } from '../held-bus.fixture.ts'
import { createCache, type Cache, type CacheOptions, type InvalidationBus } from '../index.ts'
import { postgresBus } from './postgres.ts'

let db: DbPool
let server: Awaited<ReturnType<typeof testRedis>>
let postgres: Awaited<ReturnType<typeof testPostgres>>
let client: Redis
const cacheWith = cachesWith(() => ({
  namespace: 'bus',
  l1: memory({ maxBytes: 1e7 }),
  ttlMs: 600_000,
  l2HardTimeoutMs: 10_000,
}))

beforeAll(async () => {
  ;[server, postgres] = await Promise.all([testRedis(), testPostgres()])
  client = new Redis(server.url)
  db = createDbPool({ url: postgres.url })
})
afterAll(async () => {
  client.disconnect()
  await db.close()
  await Promise.all([server.close(), postgres.close()])
})

let spaces = 0
/** Caches over one namespace, as in processes of their own, and ready. */
async function processes(count: number, bus: () => InvalidationBus, options: () => Partial<CacheOptions> = () => ({})): Promise<Cache[]> {
  const namespace = `bus-${++spaces}`
  const made = Array.from({ length: count }, () => cacheWith({ namespace, bus: bus(), ...options() }))
  await Promise.all(made.map((cache) => cache.ready()))
  return made
}

const kinds: [string, (heartbeatMs?: number) => InvalidationBus, () => Partial<CacheOptions>][] = [
  ['postgresBus, no l2', (heartbeatMs = 500) => postgresBus({ db, heartbeatMs }), () => ({})],
  ['redisBus, no l2', (heartbeatMs = 500) => redisBus({ client, heartbeatMs }), () => ({})],
  ['redisBus over l2', (heartbeatMs = 500) => redisBus({ url: server.url, heartbeatMs }), () => ({ l2: redis({ client }) })],
  ['redisBus and l2 over one client', (heartbeatMs = 500) => redisBus({ client, heartbeatMs }), () => ({ l2: redis({ client }) })],
]

for (const [name, bus, options] of kinds)
  describe(`${name}`, () => {
    it('an invalidation in one process voids the copies of the others', async () => {
      const [a, b, c] = (await processes(3, bus, options)) as [Cache, Cache, Cache]
      for (const cache of [a, b, c])
        for (const key of ['key', 'tagged', 'stays'])
          expect(await cache.getOrSet(key, () => 'old', { tags: key === 'tagged' ? ['t'] : [] })).toBe('old')
      await a.delete('key')
      await b.deleteByTag('t')
      for (const cache of [a, b, c])
        for (const key of ['key', 'tagged']) await expect.poll(() => cache.getOrSet(key, () => 'new', { tags: ['t'] })).toBe('new')
      expect(await c.get('stays')).toBe('old')
      await c.clear()
      await expect.poll(() => a.get('stays')).toBeUndefined()
      expect(a.stats().coherence).toBe('coherent')
    })

    it('a set in one process voids the copies of the others', async () => {
      const [a, b] = (await processes(2, bus, options)) as [Cache, Cache]
      await b.getOrSet('k', () => 'old')
      await a.set('k', 'new')
      await expect.poll(() => b.getOrSet('k', () => 'new')).toBe('new')
    })

    it('who brings the token of the process that invalidated gets nothing from before, although its message has not come', async () => {
      const namespace = `bus-${++spaces}`
      const held = new HeldBus(bus(60_000))
      const [a, b] = [cacheWith({ namespace, bus: bus(60_000), ...options() }), cacheWith({ namespace, bus: held.bus, ...options() })]
      await Promise.all([a.ready(), b.ready()])
      for (const key of ['key', 'tagged', 'set']) await b.getOrSet(key, () => 'old', { tags: [key] })
      held.hold()
      await Promise.all([a.delete('key'), a.deleteByTag('tagged'), a.set('set', 'new')])
      const after = await a.token()
      for (const key of ['key', 'tagged', 'set']) {
        expect(await b.get(key)).toBe('old')
        expect(await b.getOrSet(key, () => 'new', { after })).toBe('new')
      }
      held.letIn()
      const factory = vi.fn<() => string>(() => 'newer')
      const isAsked = async (): Promise<boolean> => {
        factory.mockClear()
        await b.getOrSet('unheard of', factory, { after })
        return factory.mock.calls.length > 0
      }
      await expect.poll(isAsked).toBe(false)
    })

    const overtaken: [string, (cache: Cache) => Promise<void>][] = [
      ['delete', (cache) => cache.delete('k')],
      ['deleteByTag', (cache) => cache.deleteByTag('t')],
      ['clear', (cache) => cache.clear()],
    ]
    for (const [what, invalidate] of overtaken)
      it(`a load in flight that another process's ${what} overtook is not stored`, async () => {
        const [a, b] = (await processes(2, bus, options)) as [Cache, Cache]
        const gate = Promise.withResolvers<void>()
        const started = Promise.withResolvers<void>()
        const load = b.getOrSet('k', async (entry) => {
          started.resolve()
          await gate.promise
          entry.tag('t')
          return 'old'
        })
        await started.promise
        // Messages come in their order: when a copy that was deleted last has gone, all of them have.
        await b.getOrSet('witness', () => 1)
        await invalidate(a)
        await a.delete('witness')
        await expect.poll(() => b.get('witness'), { timeout: 10_000 }).toBeUndefined()
        gate.resolve()
        expect(await load).toBe('old')
        expect(await b.get('k')).toBeUndefined()
        expect(await b.getOrSet('k', () => 'new', { tags: ['t'] })).toBe('new')
      })

    it('takes hundreds of long keys at once', async () => {
      const [a, b] = (await processes(2, bus, options)) as [Cache, Cache]
      const keys = Array.from({ length: 300 }, (_, index) => `${index}-${'ü'.repeat(200)}`)
      await b.getOrSetMany(keys, async (missing) => new Map(missing.map((key) => [key, 'old'])))
      await Promise.all(keys.map((key) => a.delete(key)))
      await expect
        .poll(async () =>
          (await b.getOrSetMany(keys, async (missing) => new Map(missing.map((key) => [key, 'new'])))).get(keys[299] as string),
        )
        .toBe('new')
      const values = await b.getOrSetMany<string>(keys, async () => new Map())
      expect(new Set(values.values())).toEqual(new Set(['new']))
      expect(b.stats().coherence).toBe('coherent')
    })
  })

describe('coherence', () => {
  it('is suspect until the first echo; copies are short-lived meanwhile', async () => {
    const dead = createDbPool({ url: 'postgres://127.0.0.1:1/none', acquireTimeoutMs: 200 })
    const cache = createCache({
      namespace: 'suspect',
      l1: memory({ maxBytes: 1e6 }),
      bus: postgresBus({ db: dead, heartbeatMs: 100 }),
      ttlMs: 600_000,
      suspectTtlMs: 50,
    })
    expect(cache.stats().coherence).toBe('suspect')
    expect(await cache.check()).toMatchObject({ status: 'warn' })
    let loads = 0
    const factory = (): number => ++loads
    await cache.getOrSet('k', factory)
    await expect.poll(async () => (await cache.getOrSet('k', factory)) > 1).toBe(true)
    await expect(cache.delete('k')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
    expect(cache.stats().pendingInvalidations).toBe(1)
    await cache.close({ timeoutMs: 0 })
    await dead.close({ timeoutMs: 0 })
  })

  it('a missing message flushes l1: a gap in the numbering shows', async () => {
    const [b] = (await processes(1, () => redisBus({ client, heartbeatMs: 5_000 }))) as [Cache]
    const channel = `bus-${spaces}:bus`
    const say = (sequence: number, keys: string[]) =>
      client.publish(channel, formatMessage({ kind: 'invalidation', publisher: 'peer', sequence, beat: 0, keys, tags: [], all: false }))
    await say(1, ['none'])
    await b.set('k', 1)
    await say(2, ['other'])
    await b.set('marker', 1)
    await say(3, ['marker'])
    await expect.poll(() => b.get('marker')).toBeUndefined()
    expect(await b.get('k')).toBe(1)
    await say(5, ['other'])
    await expect.poll(() => b.get('k')).toBeUndefined()
  })

  it('what no cache sent changes nothing and is counted', async () => {
    const [b] = (await processes(1, () => redisBus({ client, heartbeatMs: 5_000 }))) as [Cache]
    await b.set('k', 1)
    const names = JSON.stringify(Array.from({ length: 200_000 }, (_, index) => `k${index}`))
    const foreign = [
      'not a message',
      'null',
      '7',
      '{}',
      '[]',
      '[2,0,"peer",1,0]',
      '[2,0,"peer",1,0,7,[],false]',
      '[2,0,"peer",1,0,["k",7],[],false]',
      '[2,0,"peer",1,0,["k"],[],"yes"]',
      '[2,0,"peer",-1,0,["k"],[],false]',
      '[2,0,"peer",1e300,0,["k"],[],false]',
      '[2,0,7,1,0,["k"],[],false]',
      '[2,0,"peer",1,0,["\\ud800"],[],true]',
      '[2,3,"peer",1,0,["k"],[],true]',
      '[2,"0","peer",1,0,["k"],[],true]',
      '[1,0,"peer",1,0,["k"],[],true]',
      '[2,0,"peer",1,0,["k"],[],true,1]',
      `[2,0,"peer",1,0,${names},[],true]`,
      '['.repeat(100_000),
    ]
    for (const payload of foreign) await client.publish(`bus-${spaces}:bus`, payload)
    await expect.poll(() => b.stats().faults).toBe(foreign.length)
    expect(b.stats().coherence).toBe('coherent')
    expect(await b.get('k')).toBe(1)
  })

  it('a server that refuses to publish: what was to be said is not in the error', async () => {
    const user = `bus-mute-${++spaces}`
    await client.call('ACL', 'SETUSER', user, 'on', '>password', '~*', '&*', '+@all', '-publish')
    const { hostname, port } = new URL(server.url)
    const mute = new Redis({ host: hostname, port: Number(port), username: user, password: 'password' })
    const cache = cacheWith({ namespace: user, bus: redisBus({ client: mute }) })
    const error: unknown = await cache.delete('user:alice').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING', cause: { code: 'ERR_CACHE_REFUSED' } })
    expect(inspect(error, { depth: 20 })).not.toContain('alice')
    await cache.close({ timeoutMs: 0 })
    mute.disconnect()
    await client.call('ACL', 'DELUSER', user)
  })

  it.each<[string, () => InvalidationBus]>([
    ['redisBus', () => redisBus({ client })],
    ['postgresBus', () => postgresBus({ db })],
  ])('%s: no message is heard before the loss of all those before it has been told', async (_name, bus) => {
    const namespace = `bus-${++spaces}`
    const heard: string[] = []
    const sender = bus().open({ namespace, onMessage: () => undefined, onLost: () => undefined })
    let sending = true
    const flood = (async () => {
      while (sending) await Promise.all(Array.from({ length: 50 }, () => sender.publish('message')))
    })()
    const transport = bus().open({ namespace, onMessage: () => heard.push('message'), onLost: () => heard.push('lost') })
    await expect.poll(() => heard).toContain('message')
    sending = false
    await Promise.all([flood, transport.close()])
    await sender.close()
    expect(heard[0]).toBe('lost')
  })

  it('losing the subscription flushes l1, and the state recovers', async () => {
    await using proxy = await faultProxy(server.url)
    const [a, b] = (await processes(2, () => redisBus({ url: proxy.url, heartbeatMs: 200 }))) as [Cache, Cache]
    await b.set('k', 'old')
    proxy.cut()
    await expect.poll(() => b.get('k')).toBeUndefined()
    proxy.restore()
    await expect.poll(() => [a.stats().coherence, b.stats().coherence], { timeout: 10_000 }).toEqual(['coherent', 'coherent'])
    await b.set('k', 'old')
    await a.delete('k')
    await expect.poll(() => b.get('k')).toBeUndefined()
  })
})

describe('a load that another process runs', () => {
  // One of its own: who forgets the scripts of a shared one makes the messages of others come twice.
  let alone: Server
  let own: Redis
  beforeAll(async () => {
    alone = await startRedis({ fresh: true })
    own = new Redis(alone.url)
  })
  afterAll(async () => {
    own.disconnect()
    await alone.stop()
  })
  const ends: [string, (gate: PromiseWithResolvers<string>, loading: Cache) => unknown, string][] = [
    ['has stored its value', (gate) => gate.resolve('loaded'), 'loaded'],
    ['has failed', (gate) => gate.reject(new Error('failed on purpose')), 'loaded here'],
    ['was overtaken by a deletion', (_gate, loading) => loading.delete('k'), 'loaded here'],
  ]
  it.each(ends)('is waited for by push: who waits goes on as soon as it %s', async (_how, end, expected) => {
    // Asked again by himself, he would wait for hours.
    const patient = { leaseMs: 10_000_000, leaseWaitMs: 10_000_000 }
    const options = () => ({ l2: redis({ client: own }), ...patient })
    // Nor does a machine that stands still for a while make the bus suspect, which voids what is being loaded.
    const [a, b] = (await processes(2, () => redisBus({ client: own, heartbeatMs: 20_000 }), options)) as [Cache, Cache]
    const gate = Promise.withResolvers<string>()
    const loading = a.getOrSet('k', () => gate.promise).catch(() => undefined)
    const lease = `{bus-${spaces}}:l:k`
    await expect.poll(() => own.exists(lease)).toBe(1)
    const waiting = b.getOrSet('k', () => 'loaded here')
    await expect.poll(async () => (await own.get(lease))?.[0]).toBe('!')
    // Longer than the one time that he asks by himself.
    await new Promise((resolve) => setTimeout(resolve, 100))
    // What is sent twice for the want of its script leaves a hole in the numbers of the messages.
    await own.script('FLUSH')
    await end(gate, a)
    expect(await waiting).toBe(expected)
    gate.resolve('too late')
    await loading
    await a.clear()
  })
})
