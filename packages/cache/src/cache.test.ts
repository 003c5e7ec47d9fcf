import { describe, expect, it, vi } from 'vitest'
import { cachesWith, onVirtualTime } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import { CacheError, createCache, noopCache, type CacheOptions, type InvalidationBus } from './index.ts'
import { MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const cacheWith = cachesWith(() => ({ namespace: 'test', l1: memory({ maxBytes: 1e6 }), ttlMs: 1_000 }))
onVirtualTime()
const code = (name: string) => expect.objectContaining({ code: name }) as Error

describe('createCache', () => {
  describe('getOrSet', () => {
    it('runs the factory once for all who ask meanwhile, and not at all while the value is fresh', async () => {
      const cache = cacheWith()
      let runs = 0
      const factory = async () => {
        await vi.advanceTimersByTimeAsync(10)
        return ++runs
      }
      expect(await Promise.all([cache.getOrSet('k', factory), cache.getOrSet('k', factory), cache.getOrSet('k', factory)])).toEqual([
        1, 1, 1,
      ])
      await vi.advanceTimersByTimeAsync(999)
      expect(await cache.getOrSet('k', factory)).toBe(1)
      await vi.advanceTimersByTimeAsync(1)
      expect(await cache.getOrSet('k', factory)).toBe(2)
      expect(cache.stats()).toMatchObject({ hits: 1, misses: 4, hitRate: 0.2, coherence: 'coherent', entries: 1 })
    })

    it('expires up to a tenth early, so that entries do not expire together', async () => {
      vi.mocked(Math.random).mockReturnValue(1)
      const cache = cacheWith()
      await cache.set('k', 1)
      await vi.advanceTimersByTimeAsync(899)
      expect(await cache.get('k')).toBe(1)
      await vi.advanceTimersByTimeAsync(1)
      expect(await cache.get('k')).toBeUndefined()
    })

    it('stores null, but neither undefined nor a skipped value', async () => {
      const cache = cacheWith()
      const nothing = vi.fn<() => null>(() => null)
      await cache.getOrSet('null', nothing)
      expect(await cache.getOrSet('null', nothing)).toBeNull()
      expect(nothing).toHaveBeenCalledTimes(1)
      for (const factory of [vi.fn<() => undefined>(() => undefined), vi.fn<(entry: { skip(): void }) => void>((entry) => entry.skip())]) {
        await cache.getOrSet('none', factory)
        await cache.getOrSet('none', factory)
        expect(factory).toHaveBeenCalledTimes(2)
      }
    })

    it('takes the ttl that the factory decides on', async () => {
      const cache = cacheWith()
      await cache.getOrSet(
        'k',
        (entry) => {
          expect(entry.ttlMs).toBe(500)
          entry.ttlMs = 50
          return 1
        },
        { ttlMs: 500 },
      )
      await vi.advanceTimersByTimeAsync(51)
      expect(await cache.get('k')).toBeUndefined()
    })

    it('passes the error of the factory to every caller and stores nothing', async () => {
      const cache = cacheWith()
      const boom = new Error('boom')
      const results = await Promise.allSettled([1, 2].map(() => cache.getOrSet('k', () => Promise.reject(boom))))
      expect(results.map((result) => (result as PromiseRejectedResult).reason as Error)).toEqual([boom, boom])
      expect(await cache.getOrSet('k', () => 'well')).toBe('well')
    })
  })

  describe('an aborted caller', () => {
    it('gets its own reason at once and leaves the load to the others', async () => {
      const cache = cacheWith()
      const first = new AbortController()
      const load = Promise.withResolvers<string>()
      let signal: AbortSignal | undefined
      const factory = (entry: { signal: AbortSignal }) => {
        signal = entry.signal
        return load.promise
      }
      const left = cache.getOrSet('k', factory, { signal: first.signal })
      const stays = cache.getOrSet('k', factory)
      const reason = new Error('gone')
      first.abort(reason)
      await expect(left).rejects.toBe(reason)
      expect(signal?.aborted).toBe(false)
      load.resolve('value')
      expect(await stays).toBe('value')
    })

    it('ends the load when it was the last one; who comes later starts anew', async () => {
      const cache = cacheWith()
      const callers = [new AbortController(), new AbortController()]
      const signals: AbortSignal[] = []
      const factory = (entry: { signal: AbortSignal }) => {
        signals.push(entry.signal)
        return new Promise<string>(() => undefined)
      }
      const left = callers.map((caller) => cache.getOrSet('k', factory, { signal: caller.signal }))
      for (const caller of callers) caller.abort()
      await Promise.allSettled(left)
      expect(signals.map((signal) => signal.aborted)).toEqual([true])
      expect(await cache.getOrSet('k', () => 'new')).toBe('new')
      expect(await cache.get('k')).toBe('new')
    })
  })

  describe('stale copies', () => {
    it('staleWhileRevalidateMs: serves the old value and refreshes once behind', async () => {
      const cache = cacheWith({ staleWhileRevalidateMs: 1_000 })
      await cache.set('k', 'old')
      await vi.advanceTimersByTimeAsync(1_500)
      const refresh = Promise.withResolvers<string>()
      const factory = vi.fn<() => Promise<string>>(() => refresh.promise)
      expect(await Promise.all([cache.getOrSet('k', factory), cache.getOrSet('k', factory)])).toEqual(['old', 'old'])
      expect(cache.stats().stale).toBe(2)
      refresh.resolve('new')
      await vi.waitFor(async () => expect(await cache.getOrSet('k', factory)).toBe('new'))
      expect(factory).toHaveBeenCalledTimes(1)
    })

    it('staleIfErrorMs: stands in when the factory fails, then leaves the source alone for a while', async () => {
      const cache = cacheWith({ staleIfErrorMs: 10_000, errorBackoffMs: 2_000 })
      await cache.set('k', 'old')
      await vi.advanceTimersByTimeAsync(1_500)
      const factory = vi.fn<() => Promise<string>>(() => Promise.reject(new Error('down')))
      expect(await cache.getOrSet('k', factory)).toBe('old')
      expect(await cache.getOrSet('k', factory)).toBe('old')
      expect(factory).toHaveBeenCalledTimes(1)
      await vi.advanceTimersByTimeAsync(2_001)
      expect(await cache.getOrSet('k', factory)).toBe('old')
      expect(factory).toHaveBeenCalledTimes(2)
      await vi.advanceTimersByTimeAsync(7_500)
      await expect(cache.getOrSet('k', factory)).rejects.toThrow('down')
    })

    it('softTimeoutMs: the old value is for nobody who comes when even its stale window is over', async () => {
      const cache = cacheWith({ staleIfErrorMs: 1_000, softTimeoutMs: 100, hardTimeoutMs: 60_000 })
      await cache.set('k', 'old')
      await vi.advanceTimersByTimeAsync(1_500)
      const load = Promise.withResolvers<string>()
      const first = cache.getOrSet('k', () => load.promise)
      await vi.advanceTimersByTimeAsync(100)
      expect(await first).toBe('old')
      await vi.advanceTimersByTimeAsync(399)
      expect(await cache.getOrSet('k', () => load.promise)).toBe('old')
      await vi.advanceTimersByTimeAsync(1)
      const late = cache.getOrSet('k', () => load.promise)
      load.resolve('new')
      expect(await late).toBe('new')
    })

    it('softTimeoutMs: serves the old value when the factory is slow, and keeps what comes later', async () => {
      const cache = cacheWith({ staleIfErrorMs: 10_000, softTimeoutMs: 100 })
      await cache.set('k', 'old')
      await vi.advanceTimersByTimeAsync(1_500)
      const load = Promise.withResolvers<string>()
      const asked = cache.getOrSet('k', () => load.promise)
      await vi.advanceTimersByTimeAsync(101)
      expect(await asked).toBe('old')
      load.resolve('new')
      await vi.waitFor(async () => expect(await cache.get('k')).toBe('new'))
    })

    it('hardTimeoutMs: rejects, aborts the factory and drops its late result', async () => {
      const cache = cacheWith({ hardTimeoutMs: 100 })
      const load = Promise.withResolvers<string>()
      let signal: AbortSignal | undefined
      const asked = Promise.allSettled([
        cache.getOrSet('k', (entry) => {
          signal = entry.signal
          return load.promise
        }),
      ])
      await vi.advanceTimersByTimeAsync(101)
      expect(await asked).toMatchObject([{ reason: { code: 'ERR_CACHE_FACTORY_TIMEOUT', namespace: 'test' } }])
      expect(signal?.aborted).toBe(true)
      load.resolve('late')
      await vi.advanceTimersByTimeAsync(1)
      expect(await cache.get('k')).toBeUndefined()
    })

    it('an invalidation voids the stale copy as well', async () => {
      const cache = cacheWith({ staleIfErrorMs: 60_000 })
      await cache.set('key', 1)
      await cache.set('tagged', 1, { tags: ['t'] })
      await vi.advanceTimersByTimeAsync(2_000)
      await cache.delete('key')
      await cache.deleteByTag('t')
      for (const key of ['key', 'tagged'])
        await expect(cache.getOrSet(key, () => Promise.reject(new Error('down')))).rejects.toThrow('down')
    })
  })

  it('what a factory says of its value is held to the same rules as options', async () => {
    const cache = cacheWith()
    for (const ttlMs of [Number.NaN, -1, '5' as never])
      await expect(cache.getOrSet('k', (entry) => ((entry.ttlMs = ttlMs), 1))).rejects.toEqual(code('ERR_CACHE_OPTION'))
    for (const tag of [5 as never, '', 'x'.repeat(1_025)])
      await expect(cache.getOrSet('k', (entry) => (entry.tag(tag), 1))).rejects.toEqual(code('ERR_CACHE_OPTION'))
    await cache.getOrSet('k', (entry) => (entry.tag('\ud800'), 1))
    await cache.deleteByTag('\ud800')
    expect(await cache.get('k')).toBeUndefined()
  })

  it('close waits for loads in flight, then cuts them; later calls are refused', async () => {
    const cache = cacheWith()
    await cache.set('kept', 1)
    await expect(cache.close({ timeoutMs: Number.NaN })).rejects.toEqual(code('ERR_CACHE_OPTION'))
    const load = Promise.withResolvers<string>()
    const finishing = cache.getOrSet('a', () => load.promise)
    const stuck = Promise.allSettled([cache.getOrSet('b', () => new Promise(() => undefined))])
    const closed = cache.close({ timeoutMs: 100 })
    expect(cache.close()).toBe(closed)
    await expect(cache.getOrSet('kept', () => 2)).rejects.toEqual(code('ERR_CACHE_CLOSED'))
    load.resolve('done')
    expect(await finishing).toBe('done')
    await vi.advanceTimersByTimeAsync(101)
    await closed
    expect(await stuck).toMatchObject([{ reason: { code: 'ERR_CACHE_CLOSED' } }])
    await expect(cache.getOrSet('a', () => 1)).rejects.toEqual(code('ERR_CACHE_CLOSED'))
    await expect(cache.set('a', 1)).rejects.toEqual(code('ERR_CACHE_CLOSED'))
    expect(vi.getTimerCount()).toBe(0)
  })

  it('refuses wrong options and arguments by name', async () => {
    const l1 = memory({ maxBytes: 1e6 })
    const wrong: [Partial<CacheOptions>, string][] = [
      [{ namespace: 'a b' }, 'namespace'],
      [{ ttlMs: 0 }, 'ttlMs'],
      [{ l1: undefined }, 'l1 or l2'],
      [{ l2: l1 }, 'l2 must be'],
      [{ softTimeoutMs: 10 }, 'softTimeoutMs'],
      [{ leaseMs: 1_000 }, 'leaseMs'],
      [{ hardTimeoutMs: Number.NaN }, 'hardTimeoutMs'],
      [{ ttl: 5 } as object, 'ttl'],
      [{ earlyRefresh: 1 }, 'earlyRefresh'],
      [{ bus: {} as InvalidationBus }, 'bus must be'],
      [{ bus: new MemoryChannel().bus(Number.NaN) }, 'heartbeatMs'],
      [{ intents: { database: {} } as never }, 'intents.database is unknown'],
      [{ intents: { db: 5 } as never }, 'intents.db'],
      [{ l2: memoryStore(new MemoryPlace()), serializer: null as never }, 'serializer'],
    ]
    for (const [options, name] of wrong) {
      const make = () => createCache({ namespace: 'test', l1, ttlMs: 1_000, ...options })
      expect(make).toThrow(name)
      expect(make).toThrow(code('ERR_CACHE_OPTION'))
    }
    const cache = cacheWith()
    await expect(cache.getOrSet('', () => 1)).rejects.toThrow('key')
    await expect(cache.set('k', undefined)).rejects.toThrow('undefined')
    // A text in place of a list would be taken apart into its letters.
    const text = 'film:1' as unknown as string[]
    await expect(cache.set('k', 1, { tags: text })).rejects.toEqual(code('ERR_CACHE_OPTION'))
    await expect(cache.getOrSet('k', () => 1, { tags: text })).rejects.toThrow('the tags must be a list')
    await expect(cache.deleteMany(text)).rejects.toThrow('the keys must be a list')
    await expect(cache.getOrSetMany(text, async () => new Map())).rejects.toThrow('the keys must be a list')
    for (const odd of [undefined, null, 5, {}] as unknown as string[]) {
      const calls = [cache.getOrSet(odd, () => 1), cache.get(odd), cache.set(odd, 1), cache.delete(odd), cache.explain(odd)]
      expect(await Promise.allSettled(calls)).toEqual(
        calls.map(() => ({ status: 'rejected', reason: code('ERR_CACHE_OPTION') as unknown })),
      )
      await expect(cache.getOrSetMany(['k', odd], async () => new Map())).rejects.toEqual(code('ERR_CACHE_OPTION'))
      await expect(cache.deleteByTag(odd)).rejects.toEqual(code('ERR_CACHE_OPTION'))
      await expect(cache.getOrSet('k', odd as never)).rejects.toThrow('factory')
    }
    for (const signal of [null, 5, {}] as unknown as AbortSignal[]) {
      const calls = [
        cache.getOrSet('s', () => 1, { signal }),
        cache.get('k', { signal }),
        cache.set('k', 1, { signal }),
        cache.clear({ signal }),
      ]
      expect(await Promise.allSettled(calls)).toEqual(
        calls.map(() => ({ status: 'rejected', reason: code('ERR_CACHE_OPTION') as unknown })),
      )
    }
    await expect(cache.getOrSet('k', () => 1, { ttl: 5 } as object)).rejects.toThrow('ttl is unknown')
    await expect(cache.set('k', 1, { ttl: 5 } as object)).rejects.toThrow('ttl is unknown')
    expect(CacheError.isInstance(await cache.get('x'.repeat(1025)).catch((error: unknown) => error))).toBe(true)
  })

  it('noopCache runs every factory and stores nothing', async () => {
    const factory = vi.fn<() => number>(() => 1)
    await noopCache.getOrSet('k', factory)
    await noopCache.getOrSet('k', factory)
    expect(factory).toHaveBeenCalledTimes(2)
    expect(await noopCache.get('k')).toBeUndefined()
  })

  it('noopCache answers a batch as a cache does: asked keys only, failures by key', async () => {
    const down = new Error('down')
    const made = new Map<string, number | undefined>([
      ['foreign', 1],
      ['a', undefined],
      ['b', 2],
    ])
    expect(await noopCache.getOrSetMany(['a', 'b', 'b'], async () => made as Map<string, number>)).toEqual(new Map([['b', 2]]))
    const fails = (): never => {
      throw down
    }
    expect(await noopCache.getOrSetMany(['a', 'b'], fails)).toEqual(await cacheWith().getOrSetMany(['a', 'b'], fails))
  })
})
