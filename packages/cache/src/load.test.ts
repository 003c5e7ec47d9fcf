import { describe, expect, it, vi } from 'vitest'
import { cachesWith, onVirtualTime } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { Cache, CacheOptions } from './index.ts'
import { faultyDriver, MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const leaseMs = 300
const cacheWith = cachesWith(() => ({ namespace: 'load', ttlMs: 1_000, leaseMs }))
onVirtualTime()

const invalidations: [string, (cache: Cache) => Promise<void>][] = [
  ['its key', (cache) => cache.delete('k')],
  ['its tag', (cache) => cache.deleteByTag('t')],
  ['all', (cache) => cache.clear()],
]

/** A load of `k` in one of two processes that ends when the test says so. */
async function loading(options: Partial<CacheOptions> = {}) {
  const place = new MemoryPlace()
  const cache = cacheWith({ l2: memoryStore(place), ...options })
  const other = cacheWith({ l2: memoryStore(place) })
  // Until the bus is confirmed.
  await vi.advanceTimersByTimeAsync(0)
  const load = Promise.withResolvers<string>()
  const loaded = cache.getOrSet('k', () => load.promise, { tags: ['t'] })
  loaded.catch(() => undefined)
  await vi.advanceTimersByTimeAsync(0)
  return { place, cache, other, load, loaded }
}

/** What a request is told without that any time passes. */
async function atOnce(asked: Promise<unknown>): Promise<unknown> {
  let answer: unknown = 'nothing yet'
  asked.then(
    (value) => (answer = value),
    (error: unknown) => (answer = error),
  )
  await vi.advanceTimersByTimeAsync(0)
  return answer
}

describe('a load that was overtaken', () => {
  it.each(invalidations)('by an invalidation of %s gives its lease up: nobody waits for it', async (_name, invalidate) => {
    const { cache, other, load, loaded } = await loading()
    await invalidate(cache)
    load.resolve('old')
    expect(await loaded).toBe('old')
    expect(await atOnce(other.getOrSet('k', () => 'new'))).toBe('new')
  })

  it.each(invalidations)('by one of %s that is still on its way to l2 is not stored there either', async (_name, invalidate) => {
    const place = new MemoryPlace()
    const slow = faultyDriver(memoryStore(place), (operation) => ({ delayMs: operation === 'invalidate' ? 100 : 0 }))
    const { cache, load, loaded } = await loading({ l2: slow })
    const invalidated = invalidate(cache)
    load.resolve('old')
    expect(await loaded).toBe('old')
    expect(place.entries.size).toBe(0)
    await vi.advanceTimersByTimeAsync(100)
    await invalidated
  })

  it.each(invalidations)('by one of %s in another process is not kept in l1 either', async (_name, invalidate) => {
    const { cache, other, load, loaded } = await loading({ l1: memory({ maxBytes: 1e6 }) })
    await invalidate(other)
    load.resolve('old')
    expect(await loaded).toBe('old')
    expect(await cache.getOrSet('k', () => 'new')).toBe('new')
  })
})

describe('a value that is too long for l2', () => {
  const long = 'longer than ten'
  const layers = (): Partial<CacheOptions> => ({
    l1: memory({ maxBytes: 1e6 }),
    bus: new MemoryChannel().bus(60_000),
    suspectTtlMs: 50,
    maxEntryBytes: 10,
  })

  it('lives in l1 as long as others, and nobody waits for it in another process', async () => {
    const { cache, other, load, loaded } = await loading(layers())
    load.resolve(long)
    expect(await loaded).toBe(long)
    expect(await atOnce(other.getOrSet('k', () => 'short'))).toBe('short')
    await vi.advanceTimersByTimeAsync(999)
    expect(await cache.explain('k')).toMatchObject({ l1: { state: 'fresh', freshMs: 1 } })
  })

  it('lives for suspectTtlMs where it was loaded beside another process', async () => {
    const { place } = await loading()
    const beside = cacheWith({ ...layers(), l2: memoryStore(place), leaseWaitMs: 0 })
    await vi.advanceTimersByTimeAsync(0)
    expect(await beside.getOrSet('k', () => long)).toBe(long)
    expect(await beside.explain('k')).toMatchObject({ l1: { state: 'fresh', freshMs: 50 } })
  })
})

it('a load keeps its lease when l2 is back before that ends: nobody else loads', async () => {
  // l2 that failed is left alone for two seconds at most.
  const longLeaseMs = 30_000
  const place = new MemoryPlace()
  let away = false
  const l2 = faultyDriver(memoryStore(place), (operation) => ({ kind: away && operation === 'renew' ? 'fails' : 'none' }))
  const [cache, other] = [
    cacheWith({ l2, leaseMs: longLeaseMs }),
    cacheWith({ l2: memoryStore(place), leaseMs: longLeaseMs, leaseWaitMs: 10 * longLeaseMs }),
  ]
  const load = Promise.withResolvers<string>()
  const loaded = cache.getOrSet('k', () => load.promise)
  await vi.advanceTimersByTimeAsync(0)
  away = true
  await vi.advanceTimersByTimeAsync(0.8 * longLeaseMs)
  away = false
  const asked = other.getOrSet('k', () => 'loaded twice')
  await vi.advanceTimersByTimeAsync(0.5 * longLeaseMs)
  load.resolve('loaded once')
  await loaded
  await vi.advanceTimersByTimeAsync(longLeaseMs)
  expect(await atOnce(asked)).toBe('loaded once')
})

it('a key of a batch that l2 did not take is held no longer than its lease, however long the others of the batch take', async () => {
  const place = new MemoryPlace()
  const other = cacheWith({ l2: memoryStore(place), leaseWaitMs: 60_000 })
  let fills = 0
  const l2 = faultyDriver(memoryStore(place), (operation) =>
    operation !== 'fill' ? {} : ++fills === 1 ? { kind: 'fails' } : { delayMs: 10_000 },
  )
  const cache = cacheWith({ l2, l2HardTimeoutMs: 20_000 })
  const batch = cache.getOrSetMany(['a', 'b'], (missing) => new Map(missing.map((key) => [key, 'batch'])))
  batch.catch(() => undefined)
  await vi.advanceTimersByTimeAsync(0)
  const asked = other.getOrSet('a', () => 'next')
  await vi.advanceTimersByTimeAsync(2 * leaseMs)
  expect(await atOnce(asked)).toBe('next')
})

it.each(invalidations)(
  'what l2 said of a stale value before an invalidation of %s is not the previous of a factory after it',
  async (_name, invalidate) => {
    const slow = faultyDriver(memoryStore(new MemoryPlace()), (operation) => ({ replyMs: operation === 'read' ? 20 : 0 }))
    const cache = cacheWith({ l2: slow, staleIfErrorMs: 60_000 })
    await cache.set('k', 'old', { tags: ['t'] })
    await vi.advanceTimersByTimeAsync(1_001)
    const seen: unknown[] = []
    const asked = cache.getOrSet('k', ({ previous }) => {
      seen.push(previous)
      return 'new'
    })
    // One question says that nothing is fresh, the next one asks for the right to fill.
    await vi.advanceTimersByTimeAsync(30)
    await invalidate(cache)
    await vi.advanceTimersByTimeAsync(10)
    expect(await atOnce(asked)).toBe('new')
    expect(seen).toEqual([undefined])
  },
)
