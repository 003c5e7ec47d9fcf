import { describe, expect, it, vi } from 'vitest'
import { cachesWith, onVirtualTime } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { CacheOptions, FactoryEntry, InvalidationBus, SchemaLike } from './index.ts'
import { faultyDriver, MemoryPlace, memoryStore } from './testing/index.ts'

const cacheWith = cachesWith(() => ({ namespace: 'test', l1: memory({ maxBytes: 1e6 }), ttlMs: 1_000 }))
onVirtualTime()

describe('earlyRefresh', () => {
  const layers: [string, () => Partial<CacheOptions>][] = [
    ['l1', () => ({})],
    ['l2', () => ({ l1: undefined, l2: memoryStore(new MemoryPlace()) })],
  ]
  for (const [layer, options] of layers)
    it(`${layer}: the first request after the share of the ttl refreshes behind, nobody waits`, async () => {
      const cache = cacheWith({ earlyRefresh: 0.8, ...options() })
      await cache.set('k', 'old')
      const refresh = Promise.withResolvers<string>()
      const factory = vi.fn<() => Promise<string>>(() => refresh.promise)
      await vi.advanceTimersByTimeAsync(790)
      expect(await cache.getOrSet('k', factory)).toBe('old')
      expect(factory).not.toHaveBeenCalled()
      await vi.advanceTimersByTimeAsync(50)
      expect(await Promise.all([cache.getOrSet('k', factory), cache.getOrSet('k', factory)])).toEqual(['old', 'old'])
      expect(await cache.getOrSet('k', factory)).toBe('old')
      refresh.resolve('new')
      await vi.advanceTimersByTimeAsync(1)
      expect(await cache.getOrSet('k', factory)).toBe('new')
      expect(factory).toHaveBeenCalledTimes(1)
      expect(cache.stats()).toMatchObject({ stale: 0, misses: 0 })
    })

  it('a refresh that fails changes nothing, and the next comes after errorBackoffMs', async () => {
    const cache = cacheWith({ earlyRefresh: 0.5, errorBackoffMs: 200 })
    await cache.set('k', 'old')
    await vi.advanceTimersByTimeAsync(510)
    const factory = vi.fn<() => Promise<string>>(() => Promise.reject(new Error('down')))
    for (let round = 0; round < 4; round++) {
      expect(await cache.getOrSet('k', factory)).toBe('old')
      await vi.advanceTimersByTimeAsync(110)
    }
    expect(factory).toHaveBeenCalledTimes(2)
    expect(await cache.get('k')).toBe('old')
  })
})

describe('earlyRefresh of values that live shorter', () => {
  it.each([
    ['than the cache says, by the factory', (entry: FactoryEntry) => (entry.ttlMs = 100), {}],
    ['by the call', () => undefined, { ttlMs: 100 }],
  ])('%s: the share is that of their own life', async (_name, shorten, options) => {
    const cache = cacheWith({ earlyRefresh: 0.8 })
    let loads = 0
    const factory = (entry: FactoryEntry): number => {
      shorten(entry)
      return ++loads
    }
    for (let round = 0; round < 8; round++) {
      expect(await cache.getOrSet('k', factory, options)).toBe(1)
      await vi.advanceTimersByTimeAsync(9)
    }
    await vi.advanceTimersByTimeAsync(15)
    expect(await cache.getOrSet('k', factory, options)).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(await cache.getOrSet('k', factory, options)).toBe(2)
  })
})

describe('previous', () => {
  const layers: [string, () => Partial<CacheOptions>][] = [
    ['l1', () => ({})],
    ['l2', () => ({ l1: undefined, l2: memoryStore(new MemoryPlace()) })],
    ['l1 over l2', () => ({ l2: memoryStore(new MemoryPlace()) })],
  ]
  for (const [layer, options] of layers) {
    const windows = { staleIfErrorMs: 60_000, errorBackoffMs: 0 }

    it(`${layer}: a factory is given what is stale, and may say that it still holds`, async () => {
      const cache = cacheWith({ ...windows, ...options() })
      const seen: unknown[] = []
      const load = (entry: FactoryEntry): unknown => {
        seen.push(entry.previous)
        return entry.previous ?? { etag: 'a' }
      }
      for (let round = 0; round < 3; round++) {
        expect(await cache.getOrSet('k', load, { tags: ['t'] })).toEqual({ etag: 'a' })
        expect(await cache.getOrSet('k', load, { tags: ['t'] })).toEqual({ etag: 'a' })
        await vi.advanceTimersByTimeAsync(1_001)
      }
      expect(seen).toEqual([undefined, { etag: 'a' }, { etag: 'a' }])
      const behind = vi.fn<(missing: readonly string[], options: { previous: ReadonlyMap<string, unknown> }) => Map<string, unknown>>(
        (missing) => new Map(missing.map((key) => [key, 'new'])),
      )
      await cache.getOrSetMany(['k', 'other'], behind)
      expect(behind.mock.calls[0]?.[1].previous).toEqual(new Map([['k', { etag: 'a' }]]))
    })

    it(`${layer}: never what has been invalidated`, async () => {
      const cache = cacheWith({ ...windows, ...options() })
      const seen: unknown[] = []
      const invalidations = [() => cache.delete('k'), () => cache.deleteByTag('t'), () => cache.clear()]
      for (const invalidate of invalidations) {
        await cache.set('k', 'old', { tags: ['t'] })
        await vi.advanceTimersByTimeAsync(1_001)
        await invalidate()
        await cache.getOrSet('k', (entry) => void seen.push(entry.previous))
      }
      expect(seen).toEqual([undefined, undefined, undefined])
    })
  }

  it('is a copy of its own where l1 hands out copies', async () => {
    const cache = cacheWith({ staleIfErrorMs: 60_000, values: 'copied' })
    await cache.set('k', { list: [1] })
    await vi.advanceTimersByTimeAsync(1_001)
    const change = (entry: FactoryEntry): never => {
      ;(entry.previous as { list: number[] }).list.push(2)
      throw new Error('down')
    }
    expect(await cache.getOrSet<unknown>('k', change)).toEqual({ list: [1] })
  })
})

describe('options of one call', () => {
  it('stale windows and timeouts count for this value and this load', async () => {
    const cache = cacheWith()
    await cache.set('plain', 'old')
    await cache.set('k', 'old', { staleIfErrorMs: 10_000, staleWhileRevalidateMs: 500 })
    await vi.advanceTimersByTimeAsync(1_200)
    const fails = () => Promise.reject(new Error('down'))
    await expect(cache.getOrSet('plain', fails)).rejects.toThrow('down')
    expect(await cache.getOrSet('k', () => 'behind', { staleIfErrorMs: 10_000 })).toBe('old')
    await vi.advanceTimersByTimeAsync(1)
    expect(await cache.get('k')).toBe('behind')
    await vi.advanceTimersByTimeAsync(1_001)
    const slow = cache.getOrSet('k', () => new Promise(() => undefined), { staleIfErrorMs: 10_000, softTimeoutMs: 50 })
    await vi.advanceTimersByTimeAsync(51)
    expect(await slow).toBe('behind')
    const cut = cache.getOrSet('other', () => new Promise(() => undefined), { hardTimeoutMs: 20 })
    cut.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(21)
    await expect(cut).rejects.toMatchObject({ code: 'ERR_CACHE_FACTORY_TIMEOUT' })
    await expect(cache.getOrSet('x', fails, { softTimeoutMs: 50 })).rejects.toThrow('softTimeoutMs')
  })
})

describe('deleteMany and several tags', () => {
  it('take all of them in one invalidation', async () => {
    const cache = cacheWith({ l2: memoryStore(new MemoryPlace()) })
    for (const key of ['a', 'b', 'c', 'd', 'e']) await cache.set(key, 1, { tags: [`t-${key}`] })
    await cache.deleteMany(['a', 'b'])
    await cache.deleteByTag(['t-c', 't-d'])
    await cache.deleteMany([])
    await cache.deleteByTag([])
    expect(await Promise.all(['a', 'b', 'c', 'd', 'e'].map((key) => cache.get(key)))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      1,
    ])
  })
})

describe('values', () => {
  const made = () => ({ list: [{ n: 1 }], at: new Date(0) })
  it('shared: one object; frozen: nobody changes it; copied: each has his own', async () => {
    const shared = cacheWith()
    const first = await shared.getOrSet('k', made)
    expect(await shared.getOrSet('k', made)).toBe(first)
    const frozen = cacheWith({ values: 'frozen' })
    const kept = await frozen.getOrSet('k', made)
    expect(() => kept.list.push({ n: 2 })).toThrow(TypeError)
    expect(() => Object.assign(kept.list[0] as object, { n: 2 })).toThrow(TypeError)
    const outside = await frozen.getOrSet('frozen outside', () =>
      Object.freeze({
        ...made(),
        get never() {
          return Promise.reject(new Error('asked'))
        },
      }),
    )
    expect(() => outside.list.push({ n: 2 })).toThrow(TypeError)
    const copied = cacheWith({ values: 'copied' })
    const mine = await copied.getOrSet('k', made)
    mine.list.length = 0
    const yours = await copied.getOrSet('k', made)
    yours.at.setTime(1)
    expect(await copied.get('k')).toEqual(made())
    expect((await copied.getOrSetMany(['k'], async () => new Map())).get('k')).toEqual(made())
  })
})

describe('schema', () => {
  const isNew: SchemaLike = {
    '~standard': {
      validate: (value) => (typeof (value as { title?: unknown }).title === 'string' ? {} : { issues: [{ message: 'no title' }] }),
    },
  }
  it('an entry of l2 that does not fit is absent, removed and counted', async () => {
    const place = new MemoryPlace()
    const [old, fresh] = [cacheWith({ l1: undefined, l2: memoryStore(place) }), cacheWith({ l1: undefined, l2: memoryStore(place) })]
    await old.set('k', { name: 'Metropolis' })
    expect(await fresh.get('k', { schema: isNew })).toBeUndefined()
    await old.set('k', { name: 'Metropolis' })
    const load = () => fresh.getOrSet('k', () => ({ title: 'Metropolis' }), { schema: isNew })
    expect(await load()).toEqual({ title: 'Metropolis' })
    await vi.advanceTimersByTimeAsync(1)
    await load()
    expect(await fresh.get('k', { schema: isNew })).toEqual({ title: 'Metropolis' })
    expect(fresh.stats().faults).toBe(2)
  })
})

describe('suspect', () => {
  const silent = (): InvalidationBus => ({
    name: 'silent',
    maxPayloadBytes: 8_000,
    heartbeatMs: 100,
    open: () => ({ publish: async () => undefined, close: async () => undefined }),
  })
  it.each([
    ['serve', 1],
    ['shorten', 2],
    ['bypass', 3],
  ] as const)('%s: what a copy is worth while the bus is not confirmed', async (suspect, loads) => {
    const cache = cacheWith({ bus: silent(), suspect, suspectTtlMs: 50 })
    const factory = vi.fn<() => number>(() => 1)
    await cache.getOrSet('k', factory)
    await cache.getOrSet('k', factory)
    await vi.advanceTimersByTimeAsync(60)
    await cache.getOrSet('k', factory)
    expect(factory).toHaveBeenCalledTimes(loads)
    expect(cache.stats().coherence).toBe('suspect')
  })
})

describe('explain', () => {
  it('says what is where and what a request would do', async () => {
    const cache = cacheWith({ l2: memoryStore(new MemoryPlace()), ttlMs: 10_000, suspectTtlMs: 100, staleWhileRevalidateMs: 10_000 })
    expect(await cache.explain('k')).toEqual({
      key: 'k',
      l1: { state: 'absent' },
      l2: { state: 'absent' },
      load: 'none',
      coherence: 'coherent',
      next: 'run the factory',
    })
    await cache.set('k', 1, { tags: ['t'] })
    expect(await cache.explain('k')).toMatchObject({ l1: { state: 'fresh', freshMs: 100, tags: ['t'] }, next: 'serve l1' })
    await vi.advanceTimersByTimeAsync(200)
    expect(await cache.explain('k')).toMatchObject({
      l1: { state: 'expired' },
      l2: { state: 'fresh', freshMs: 9_800, tags: ['t'] },
      next: 'serve l2',
    })
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await cache.explain('k')).toMatchObject({ l2: { state: 'stale' }, next: 'serve stale and refresh' })
    await cache.delete('k')
    const load = cache.getOrSet('k', () => new Promise((resolve) => setTimeout(resolve, 50)))
    await vi.advanceTimersByTimeAsync(10)
    expect(await cache.explain('k')).toMatchObject({ load: 'loading', next: 'join the load' })
    await vi.advanceTimersByTimeAsync(50)
    await load
    expect(cache.stats()).toMatchObject({ hits: 0, misses: 1 })
  })
})

it('softTimeoutMs that has passed before l2 said what may stand in: it is served then', async () => {
  const place = new MemoryPlace()
  const writer = cacheWith({ l1: undefined, l2: memoryStore(place), staleIfErrorMs: 60_000 })
  await writer.set('k', 'old')
  await vi.advanceTimersByTimeAsync(2_000)
  const slow = faultyDriver(memoryStore(place), (operation) => ({ delayMs: operation === 'read' ? 100 : 0 }))
  const cache = cacheWith({
    l1: undefined,
    l2: slow,
    staleIfErrorMs: 60_000,
    softTimeoutMs: 50,
    errorBackoffMs: 0,
  })
  const asked = cache.getOrSet('k', () => new Promise<never>(() => undefined))
  await vi.advanceTimersByTimeAsync(250)
  expect(await asked).toBe('old')
})

it('a value that is too long for l2 is set in l1 alone; l2 lets go of the old one, and does not speak for it', async () => {
  const place = new MemoryPlace()
  const make = () => cacheWith({ l2: memoryStore(place), suspectTtlMs: 60_000, maxEntryBytes: 10, staleIfErrorMs: 60_000 })
  const [cache, other] = [make(), make()]
  await cache.set('k', 'old')
  await cache.set('k', 'longer than ten')
  expect(await cache.get('k')).toBe('longer than ten')
  expect(await other.get('k')).toBeUndefined()
  await vi.advanceTimersByTimeAsync(2_000)
  expect(await cache.getOrSet('k', () => Promise.reject(new Error('down')))).toBe('longer than ten')
})
