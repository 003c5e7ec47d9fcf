import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { SharedDriver, SharedStore } from './driver.ts'
import { memory } from './drivers/memory.ts'
import { createCache, type Cache, CacheError, type CacheOptions, type InvalidationBus, type SchemaLike } from './index.ts'
import { faultyDriver, MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const never = (): Promise<never> => new Promise(() => undefined)
const code = (error: { code?: string }): string | undefined => error.code

function cacheWith(options: Partial<CacheOptions> = {}): Cache {
  return createCache({ namespace: 'settle', l1: memory({ maxBytes: 1e6 }), ttlMs: 60_000, ...options })
}

/** A store that answers until it is frozen. */
function freezable(): { l2: SharedDriver; freeze(): void } {
  let frozen = false
  const l2 = faultyDriver(memoryStore(new MemoryPlace()), () => ({ kind: frozen ? 'lost' : 'none' }))
  return { l2, freeze: () => (frozen = true) }
}

const silentBus = (): InvalidationBus => ({
  name: 'silent',
  maxPayloadBytes: 8_000,
  heartbeatMs: 100,
  open: () => ({ publish: never, close: never }),
})

describe('a factory that waits for itself', () => {
  it.each([
    ['asks for its own key', (cache: Cache) => cache.getOrSet('a', () => cache.getOrSet('a', () => 1)), 'a -> a'],
    [
      'asks for it around two corners',
      (cache: Cache) => cache.getOrSet('a', () => cache.getOrSet('b', () => cache.getOrSet('c', () => cache.getOrSet('a', () => 1)))),
      'a -> b -> c',
    ],
    [
      'asks for it in a batch',
      (cache: Cache) =>
        cache.getOrSet('a', async () => {
          throw (await cache.getOrSetMany(['b', 'a'], async () => new Map())).get('a')
        }),
      'a -> a',
    ],
  ])('%s: an error that names the ring', async (_name, ask, ring) => {
    const cache = cacheWith()
    const asked = ask(cache)
    const error: unknown = await asked.catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_CACHE_REENTRANT', message: expect.stringContaining(ring) as string })
    expect(await cache.getOrSet('a', () => 'free again')).toBe('free again')
    await cache.close()
  })

  it('two requests whose factories wait for each other, over two caches', async () => {
    const [one, two] = [cacheWith(), cacheWith({ namespace: 'other' })]
    const both = Promise.withResolvers<void>()
    let begun = 0
    const meet = async (): Promise<void> => {
      if (++begun === 2) both.resolve()
      await both.promise
    }
    const results = await Promise.allSettled([
      one.getOrSet('a', async () => {
        await meet()
        return two.getOrSet('b', () => 'unused')
      }),
      two.getOrSet('b', async () => {
        await meet()
        return one.getOrSet('a', () => 'unused')
      }),
    ])
    expect(results.map((result) => (result as PromiseRejectedResult).reason as unknown)).toEqual([
      expect.objectContaining({ code: 'ERR_CACHE_REENTRANT' }),
      expect.objectContaining({ code: 'ERR_CACHE_REENTRANT' }),
    ])
    await Promise.all([one.close(), two.close()])
  })

  it('other keys, waits that are over and work after its end are no rings', async () => {
    const cache = cacheWith()
    const after = Promise.withResolvers<unknown>()
    const got = await cache.getOrSet('a', async () => {
      const left = new AbortController()
      const given = cache.getOrSet('slow', never, { signal: left.signal })
      left.abort(new Error('gone'))
      await given.catch(() => undefined)
      setTimeout(() => after.resolve(cache.getOrSet('a', () => 'not asked')), 5)
      return [await cache.getOrSet('b', () => cache.getOrSet('c', () => 'c')), await cache.getOrSet('c', () => 'not asked')]
    })
    expect(got).toEqual(['c', 'c'])
    expect(await after.promise).toEqual(['c', 'c'])
    await cache.close()
  })
})

describe('every public promise settles', () => {
  const calls: [string, (cache: Cache) => Promise<unknown>][] = [
    ['getOrSet', (cache) => cache.getOrSet('k', never)],
    ['getOrSetMany', (cache) => cache.getOrSetMany(['k', 'l'], never).then((values) => [...values.values()][0])],
    ['get', (cache) => cache.get('k')],
    ['set', (cache) => cache.set('k', 1)],
    ['delete', (cache) => cache.delete('k')],
    ['deleteMany', (cache) => cache.deleteMany(['k', 'l'])],
    ['deleteByTag', (cache) => cache.deleteByTag(['s', 't'])],
    ['clear', (cache) => cache.clear()],
    ['ready', (cache) => cache.ready()],
    ['check', (cache) => cache.check()],
    ['explain', (cache) => cache.explain('k')],
  ]
  const places: [string, () => { options: Partial<CacheOptions>; freeze(): void }][] = [
    ['l1', () => ({ options: {}, freeze: () => undefined })],
    [
      'a frozen l2',
      () => {
        const { l2, freeze } = freezable()
        return { options: { l1: undefined, l2, l2HardTimeoutMs: 50 }, freeze }
      },
    ],
    ['a bus that never answers', () => ({ options: { bus: silentBus(), l2HardTimeoutMs: 50 }, freeze: () => undefined })],
    ['a frozen database', () => ({ options: { intents: { db: { query: never } } }, freeze: () => undefined })],
  ]
  for (const [place, open] of places)
    it.each(calls)(`over ${place}, with close in between: %s`, async (_name, call) => {
      const { options, freeze } = open()
      const cache = cacheWith(options)
      freeze()
      const asked = call(cache).then(() => 'done', code)
      const startedAt = performance.now()
      await cache.close({ timeoutMs: 100 })
      expect(performance.now() - startedAt).toBeLessThan(2_000)
      const settled = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 2_000, 'hangs'))])
      expect(['done', 'ERR_CACHE_CLOSED', 'ERR_CACHE_INVALIDATION_PENDING']).toContain(settled ?? 'done')
      await expect(call(cache)).rejects.toMatchObject({ code: 'ERR_CACHE_CLOSED' })
    })

  it('a schema that gives no verdict holds neither its callers nor close', async () => {
    const place = new MemoryPlace()
    const options = { l1: undefined, l2: memoryStore(place), l2HardTimeoutMs: 100 }
    const writer = cacheWith(options)
    for (const key of ['k', 'l', 'm', 'n']) await writer.set(key, 'stored')
    const schema: SchemaLike = { '~standard': { validate: never } }
    const reader = cacheWith({ ...options, l2: memoryStore(place) })
    expect(await reader.get('k', { schema })).toBeUndefined()
    expect(await reader.getOrSet('l', () => 'loaded', { schema })).toBe('loaded')
    const all = async (keys: readonly string[]) => new Map(keys.map((key) => [key, 'loaded']))
    expect([...(await reader.getOrSetMany(['m', 'other'], all, { schema })).values()]).toEqual(['loaded', 'loaded'])
    const left = reader.getOrSet('n', () => 'loaded', { schema }).catch(code)
    await reader.close({ timeoutMs: 0 })
    expect(await left).toBe('ERR_CACHE_CLOSED')
    await writer.close()
  })

  it('who waits for ready holds the process, and close lets it end', () => {
    const program = join(import.meta.dirname, 'ready.fixture.ts')
    const { stdout, status } = spawnSync(process.execPath, ['--conditions=@platform/source', program], {
      encoding: 'utf8',
      timeout: 60_000,
    })
    expect({ stdout, status }).toEqual({ stdout: 'ready\nclosed\n', status: 0 })
  }, 70_000)

  it('a write that close cuts says that the cache was closed', async () => {
    const { l2, freeze } = freezable()
    const cache = cacheWith({ l2, l2HardTimeoutMs: 60_000 })
    freeze()
    const writes = [cache.delete('k'), cache.set('k', 1)].map((write) => write.catch(code))
    await cache.close({ timeoutMs: 10 })
    expect(await Promise.all(writes)).toEqual(['ERR_CACHE_CLOSED', 'ERR_CACHE_CLOSED'])
  })

  it('what ends after close stores nothing', async () => {
    const { l2, freeze } = freezable()
    const cache = cacheWith({ l2, l2HardTimeoutMs: 400 })
    await cache.set('k', 1)
    freeze()
    const load = cache.getOrSet('late', () => 'loaded').catch(code)
    const write = cache.set('later', 1).catch(code)
    await cache.close({ timeoutMs: 0 })
    expect(await load).toBe('ERR_CACHE_CLOSED')
    await write
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 })
  })

  it('a close that may take months does not cut at once', async () => {
    const cache = cacheWith()
    const load = cache.getOrSet('k', () => new Promise((resolve) => setTimeout(resolve, 30, 'loaded')))
    await expect(cache.close({ timeoutMs: 2 ** 31 })).rejects.toThrow('timeoutMs')
    const closed = cache.close({ timeoutMs: 2 ** 31 - 1 })
    expect(await load).toBe('loaded')
    await closed
  })

  it('a commit whose cache has gone ends, and its row stays for others', async () => {
    const sent: string[] = []
    const db = { query: async (text: string) => (sent.push(text), { rows: text.includes('order by') ? [] : [{ found: 'there' }] }) }
    const cache = cacheWith({ intents: { db } })
    const hooks: (() => void | Promise<void>)[] = []
    cache.invalidateAfterCommit({ query: (text) => db.query(text), afterCommit: (run) => hooks.push(run) }, { keys: ['k'] })
    await cache.close({ timeoutMs: 0 })
    for (const run of hooks) await run()
    expect(hooks).toHaveLength(1)
    expect(sent.filter((text) => text.startsWith('insert'))).toHaveLength(1)
    expect(sent.filter((text) => text.includes('any('))).toHaveLength(0)
  })

  it('a write waits for l2HardTimeoutMs at most, also when earlier ones are waiting to be sent again', { timeout: 60_000 }, async () => {
    const { l2, freeze } = freezable()
    const cache = cacheWith({ l2, l2HardTimeoutMs: 60, bus: new MemoryChannel().bus(1_000) })
    await cache.ready()
    freeze()
    const startedAt = performance.now()
    for (let round = 0; round < 12; round++)
      for (const write of [() => cache.set('k', round), () => cache.delete(`k${round}`), () => cache.deleteByTag('t'), () => cache.clear()])
        expect(await write().then(() => 'done', code)).toBe('ERR_CACHE_INVALIDATION_PENDING')
    // A factor of five for a busy machine; the pauses between attempts would be a minute.
    expect(performance.now() - startedAt).toBeLessThan(48 * 300)
    await cache.close({ timeoutMs: 0 })
  })
})

describe('delivery', () => {
  /** A store that refuses some names for good. */
  function refusing(bad: (name: string) => boolean, alsoAll = false): { l2: SharedDriver; sent: string[] } {
    const sent: string[] = []
    const driver = faultyDriver(memoryStore(new MemoryPlace()), () => ({}))
    const open: SharedDriver['open'] = (options) => {
      const store = driver.open(options)
      const invalidate: SharedStore['invalidate'] = async (what) => {
        if ([...what.keys, ...what.tags].some(bad) || (alsoAll && what.all)) throw new CacheError('ERR_CACHE_REFUSED')
        sent.push(...what.keys, ...what.tags, ...(what.all ? ['all'] : []))
        await store.invalidate(what)
      }
      return { ...store, invalidate }
    }
    return { l2: { ...driver, open }, sent }
  }

  it('one that is refused fails alone; the namespace goes in its place', async () => {
    const { l2, sent } = refusing((name) => name.startsWith('bad'))
    const error = vi.fn<(fields: object, message?: string) => void>()
    const quiet = (): void => undefined
    const logger = { debug: quiet, info: quiet, warn: quiet, error }
    const cache = cacheWith({ l1: undefined, l2, logger })
    await cache.set('old', 1)
    const results = await Promise.all([
      cache.delete('a').then(() => 'done', code),
      cache.deleteByTag(['b', 'c']).then(() => 'done', code),
      cache.delete('bad').then(() => 'done', code),
      cache.deleteByTag('d').then(() => 'done', code),
    ])
    expect(results).toEqual(['done', 'done', 'ERR_CACHE_INVALIDATION_PENDING', 'done'])
    await expect.poll(() => cache.stats().pendingInvalidations).toBe(0)
    expect([...new Set(sent)].sort()).toEqual(['a', 'all', 'b', 'c', 'd'])
    expect(error).toHaveBeenCalledTimes(1)
    expect(await cache.get('old')).toBeUndefined()
    await cache.close()
  })

  it('what nothing can deliver ends the trust in l2, and blocks no other', async () => {
    const { l2, sent } = refusing((name) => name === 'bad', true)
    const cache = cacheWith({ l1: undefined, l2 })
    await cache.set('k', 'in l2')
    expect(await cache.delete('bad').catch(code)).toBe('ERR_CACHE_INVALIDATION_PENDING')
    expect(await cache.get('k')).toBeUndefined()
    expect(await cache.getOrSet('k', () => 'from the source')).toBe('from the source')
    await expect.poll(() => cache.delete('good').then(() => 'done', code)).toBe('done')
    expect(sent).toContain('good')
    await cache.close({ timeoutMs: 0 })
  })
})

describe('names', () => {
  const odd = ['a\0b', 'party 🎉'.slice(0, 7), '\udc00', '__proto__', 'constructor', '~u16:YQAAAGIA', '~u16:', '~', ' ', '{x}', 'ü€😀']
  it('any text is a key and a tag of its own', async () => {
    for (const options of [{}, { l1: undefined, l2: memoryStore(new MemoryPlace()) }]) {
      const cache = cacheWith(options)
      for (const name of odd) await cache.set(name, name, { tags: [name] })
      for (const name of odd) expect(await cache.get(name)).toBe(name)
      expect([...(await cache.getOrSetMany(odd, async () => new Map())).keys()]).toEqual(odd)
      for (const [index, name] of odd.entries()) {
        await (index % 2 === 0 ? cache.delete(name) : cache.deleteByTag(name))
        expect(await Promise.all(odd.map((each) => cache.get(each)))).toEqual(odd.map((each, at) => (at <= index ? undefined : each)))
      }
      const asked = await cache.getOrSetMany(odd, async (missing) => new Map(missing.map((name) => [name, name])))
      expect([...asked.entries()]).toEqual(odd.map((name) => [name, name]))
      await cache.close()
    }
  })
})

describe('durations', () => {
  const month = 30 * 86_400_000
  it('of a life may be years, of a timer at most what a timer can wait; beyond, they are refused by name', async () => {
    const cache = cacheWith({ ttlMs: 12 * month, staleIfErrorMs: 12 * month })
    await cache.set('k', 1, { ttlMs: 36 * month })
    expect(await cache.get('k')).toBe(1)
    for (const ttlMs of [Number.MAX_VALUE, Number.NaN, Infinity, -1, 0])
      await expect(cache.set('k', 1, { ttlMs })).rejects.toMatchObject({
        code: 'ERR_CACHE_OPTION',
        message: expect.stringContaining('ttlMs') as string,
      })
    await cache.close()
    const l2 = (): SharedDriver => memoryStore(new MemoryPlace())
    for (const name of ['softTimeoutMs', 'hardTimeoutMs', 'l2SoftTimeoutMs', 'l2HardTimeoutMs', 'leaseMs', 'leaseWaitMs'])
      expect(() => cacheWith({ l2: l2(), staleIfErrorMs: 1, [name]: month })).toThrow(name)
    expect(() => cacheWith({ intents: { db: { query: never }, sweepIntervalMs: month } })).toThrow('sweepIntervalMs')
  })
})
