import { describe, expect, it } from 'vitest'
import { cachesWith } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { SharedDriver, SharedLookup, SharedRead } from './driver.ts'
import type { Serializer } from './index.ts'
import { MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const HOUR_MS = 3_600_000

/** A store of which the test sees every question, and can hold back the answer to the next. */
function watched(place: MemoryPlace) {
  const questions: (readonly SharedLookup[])[] = []
  let gate: Promise<void> | undefined
  let writing: Promise<void> = Promise.resolve()
  const driver: SharedDriver = memoryStore(place)
  const l2: SharedDriver = {
    ...driver,
    open: (options) => {
      const store = driver.open(options)
      const read = async (lookups: readonly SharedLookup[]): Promise<SharedRead[]> => {
        questions.push(lookups)
        const held = gate
        gate = undefined
        const reads = await store.read(lookups)
        await held
        return reads
      }
      return new Proxy(store, {
        get: (target, name) => {
          if (name === 'read') return read
          if (name === 'publisher') return target.publisher
          const method = (target[name as Exclude<keyof typeof target, 'publisher'>] as (...facts: unknown[]) => unknown).bind(target)
          return name === 'write' ? (...facts: unknown[]) => writing.then(() => method(...facts)) : method
        },
      })
    },
  }
  const holdNext = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = promise
    return resolve
  }
  /** Writes do not begin before it is called. */
  const holdWrites = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    writing = promise
    return resolve
  }
  const asked = async (count: number): Promise<void> => {
    for (let hops = 0; questions.length < count && hops < 1_000; hops++) await Promise.resolve()
    expect(questions).toHaveLength(count)
  }
  return { l2, questions, holdNext, holdWrites, asked }
}
const notAsked = (): never => {
  throw new Error('a hit was expected')
}

describe('a hit in l2', () => {
  const cacheWith = cachesWith(() => ({ namespace: 'glance', ttlMs: HOUR_MS, l2HardTimeoutMs: 60_000 }))
  const over = async (value: string) => {
    const place = new MemoryPlace()
    const other = cacheWith({ l2: memoryStore(place) })
    await other.set('k', value, { tags: ['t'] })
    const { l2, ...store } = watched(place)
    return { other, store, cache: cacheWith({ l2 }) }
  }

  it('is one question without a lease, for all who ask before it is sent', async () => {
    const { cache, store } = await over('old')
    const all = Array.from({ length: 100 }, () => cache.getOrSet('k', notAsked))
    expect(new Set(await Promise.all(all))).toEqual(new Set(['old']))
    expect(store.questions).toEqual([[{ key: 'k', tags: [] }]])
    expect(cache.stats()).toMatchObject({ hits: 100, misses: 0 })
  })

  it('is not held up by a look-up of somebody else that is on its way', async () => {
    const { cache, store } = await over('old')
    const release = store.holdNext()
    const before = cache.getOrSet('k', notAsked)
    await store.asked(1)
    expect(await cache.getOrSet('k', notAsked)).toBe('old')
    release()
    expect(await before).toBe('old')
  })

  it('is never an answer that was read before he asked, though it be in the same round of the event loop', async () => {
    const { other, cache, store } = await over('old')
    let rounds = 0
    const counting = setImmediate(() => rounds++)
    const release = store.holdNext()
    const before = cache.getOrSet('k', notAsked)
    await store.asked(1)
    // All of it in microtasks: no callback of the event loop runs in between.
    await other.delete('k')
    const after = cache.getOrSet('k', () => 'new')
    expect(rounds).toBe(0)
    clearImmediate(counting)
    release()
    expect([await before, await after]).toEqual(['old', 'new'])
  })

  it('asked for while a value is set does not displace it in l1, however late it comes', async () => {
    const place = new MemoryPlace()
    await cacheWith({ l2: memoryStore(place) }).set('k', 'old')
    const { l2, holdNext, holdWrites, asked } = watched(place)
    const cache = cacheWith({ l1: memory({ maxBytes: 1e6 }), l2 })
    const [write, release] = [holdWrites(), holdNext()]
    const setting = cache.set('k', 'new')
    const meanwhile = cache.getOrSet('k', notAsked)
    await asked(1)
    write()
    await setting
    release()
    expect(await meanwhile).toBe('old')
    expect(await cache.getOrSet('k', notAsked)).toBe('new')
  })

  it('asked for while a value is set does not outlive it in l1, though another process has invalidated the key meanwhile', async () => {
    const place = new MemoryPlace()
    await cacheWith({ l2: memoryStore(place) }).set('k', 'old')
    const channel = new MemoryChannel()
    const kept = () => ({ l1: memory({ maxBytes: 1e6 }), bus: channel.bus(60_000) })
    const { l2, holdWrites } = watched(place)
    const [cache, other] = [cacheWith({ ...kept(), l2 }), cacheWith(kept())]
    await Promise.all([cache.ready(), other.ready()])
    const write = holdWrites()
    const setting = cache.set('k', 'new')
    await other.delete('k')
    expect(await cache.getOrSet('k', notAsked)).toBe('old')
    write()
    await setting
    expect(await cache.getOrSet('k', notAsked)).toBe('new')
  })

  it('in a batch: the factory is asked for the rest only', async () => {
    const { cache, store } = await over('old')
    const missing: string[][] = []
    const load = async (keys: readonly string[]) => {
      missing.push([...keys])
      return new Map(keys.map((key) => [key, 'loaded']))
    }
    const values = await cache.getOrSetMany(['a', 'k', 'b'], load)
    expect([...values]).toEqual([
      ['a', 'loaded'],
      ['k', 'old'],
      ['b', 'loaded'],
    ])
    expect(missing).toEqual([['a', 'b']])
    expect(store.questions.map((lookups) => lookups.map(({ key, lease }) => [key, lease !== undefined]))).toEqual([
      [
        ['a', false],
        ['k', false],
        ['b', false],
      ],
      [
        ['a', true],
        ['b', true],
      ],
    ])
  })

  it('what l2 did not say in time is loaded, and the same request does not ask it again', async () => {
    const place = new MemoryPlace()
    const { l2, questions, holdNext } = watched(place)
    const cache = cacheWith({ l2, l2HardTimeoutMs: 30 })
    const releases = [holdNext()]
    expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded')
    releases.push(holdNext())
    expect([...(await cache.getOrSetMany(['l'], async () => new Map([['l', 'loaded']])))]).toEqual([['l', 'loaded']])
    expect(questions).toHaveLength(2)
    for (const release of releases) release()
  })

  it.each([
    ['rejects', () => Promise.reject(new Error('away'))],
    [
      'throws',
      () => {
        throw new Error('away')
      },
    ],
  ] as [string, () => Promise<never>][])(
    'is to be had again once l2, which %s, is back, though nothing else was asked meanwhile',
    async (_how, fail) => {
      const place = new MemoryPlace()
      await cacheWith({ l2: memoryStore(place) }).set('k', 'stored')
      let away = true
      const driver = memoryStore(place)
      const open: SharedDriver['open'] = (options) => {
        const store = driver.open(options)
        return Object.assign(Object.create(store) as typeof store, {
          read: (lookups: readonly SharedLookup[]) => (away ? fail() : store.read(lookups)),
          close: () => store.close(),
        })
      }
      const l2 = { ...driver, open }
      const cache = cacheWith({ l2 })
      for (let call = 0; call < 5; call++) expect(await cache.get('k')).toBeUndefined()
      away = false
      await expect.poll(() => cache.get('k'), { timeout: 10_000 }).toBe('stored')
    },
  )

  it('whose value cannot be copied for l1 holds up neither its callers nor those beside them', async () => {
    const place = new MemoryPlace()
    const odd: Serializer = { name: 'odd', encode: String, decode: (body) => (body === 'odd' ? () => body : body) }
    const write = cacheWith({ l2: memoryStore(place), serializer: odd })
    for (const value of ['odd', 'even']) await write.set(value, value)
    const cache = cacheWith({ l1: memory({ maxBytes: 1e6 }), values: 'copied', l2: memoryStore(place), serializer: odd })
    const load = async () => ({ wrapped: () => 1 })
    const asked = ['odd', 'even'].map((key) => cache.getOrSet<unknown>(key, load).catch((error: Error) => error.name))
    expect(await Promise.all(asked)).toEqual([expect.anything(), 'even'])
  })

  it('who waits for l2 at close gets his load, or is told when the time is over', async () => {
    for (const timeoutMs of [60_000, 0]) {
      const { l2, holdNext, asked } = watched(new MemoryPlace())
      const cache = cacheWith({ l2 })
      const release = holdNext()
      const one = cache.getOrSet('k', async () => 'loaded').catch((error: { code: string }) => error.code)
      const many = cache.getOrSetMany(['l'], async () => new Map([['l', 'loaded']])).catch((error: { code: string }) => error.code)
      await asked(1)
      const closing = cache.close({ timeoutMs })
      if (timeoutMs > 0) release()
      await closing
      expect(await one).toBe(timeoutMs > 0 ? 'loaded' : 'ERR_CACHE_CLOSED')
      expect(await many).toEqual(timeoutMs > 0 ? new Map([['l', 'loaded']]) : 'ERR_CACHE_CLOSED')
      release()
    }
  })
})
