import type { Cache, Factory } from '../contract.ts'
import { Bench, type CacheDriverSubject, eventually, heldLoad, type TestFunctions } from './bench.ts'
import { describeSharedDriver } from './shared-contract.ts'

/** The suite that every driver passes, told through the cache that stands on it. */
export function describeCacheDriver(test: TestFunctions, subject: CacheDriverSubject): void {
  const { describe, it, expect } = test
  const on = (name: string, body: (bench: Bench) => Promise<void>) =>
    it(name, async () => {
      const bench = new Bench(await subject.open(), subject.layer)
      try {
        await body(bench)
      } finally {
        await bench.close()
      }
    })

  describe(`${subject.name} as ${subject.layer} driver`, () => {
    on('keeps values of every JSON kind under any key', async (bench) => {
      const cache = bench.cache()
      const values = [null, 0, '', false, 'ü€😀', [1, [2]], { a: { b: null } }, 'x'.repeat(100_000)]
      for (const [index, value] of values.entries()) await cache.set(`key ${index} ü:*{}`, value)
      const got = await Promise.all(values.map((_, index) => cache.get(`key ${index} ü:*{}`)))
      expect(got).toEqual(values)
      expect(await cache.get('other')).toBe(undefined)
    })

    on('overwrites, and forgets what is deleted', async (bench) => {
      const cache = bench.cache()
      await cache.set('k', 1)
      await cache.set('k', 2)
      await cache.set('stays', 3)
      expect(await cache.get('k')).toBe(2)
      await cache.delete('k')
      await cache.delete('k')
      expect([await cache.get('k'), await cache.get('stays')]).toEqual([undefined, 3])
    })

    on('forgets after the ttl', async (bench) => {
      const cache = bench.cache()
      await cache.set('stays', 1)
      await cache.set('goes', 1, { ttlMs: 20 })
      await eventually(async () => (await cache.get('goes')) === undefined)
      expect(await cache.get('stays')).toBe(1)
    })

    on('a changed tag takes all that carry it and nothing else', async (bench) => {
      const cache = bench.cache()
      await cache.set('both', 1, { tags: ['a', 'b'] })
      await cache.set('a', 1, { tags: ['a'] })
      await cache.set('b', 1, { tags: ['b'] })
      await cache.set('none', 1)
      await cache.deleteByTag('a')
      await cache.deleteByTag('unknown')
      expect(await Promise.all(['both', 'a', 'b', 'none'].map((key) => cache.get(key)))).toEqual([undefined, undefined, 1, 1])
      await cache.set('a', 2, { tags: ['a'] })
      expect(await cache.get('a')).toBe(2)
      await cache.getOrSet('a', () => 'not asked')
      await cache.deleteByTag('a')
      expect(await cache.getOrSet('a', () => 'asked')).toBe('asked')
    })

    on('clear takes everything', async (bench) => {
      const cache = bench.cache()
      await cache.set('k', 1)
      await cache.set('tagged', 1, { tags: ['t'] })
      await cache.clear()
      expect([await cache.get('k'), await cache.get('tagged')]).toEqual([undefined, undefined])
      await cache.set('k', 2)
      expect(await cache.get('k')).toBe(2)
    })

    on('a tag that the factory names counts like one given before', async (bench) => {
      const cache = bench.cache()
      const factory: Factory<number> = (entry) => {
        entry.tag('t')
        return 1
      }
      await cache.getOrSet('k', factory)
      expect(await cache.get('k')).toBe(1)
      await cache.deleteByTag('t')
      expect(await cache.get('k')).toBe(undefined)
    })

    on('a stale copy stands in for a factory that fails, unless it was invalidated', async (bench) => {
      const cache = bench.cache({ staleIfErrorMs: 60_000 })
      const fails = () => Promise.reject(new Error('down'))
      await cache.set('k', 'old', { ttlMs: 1, tags: ['t'] })
      await eventually(async () => (await cache.get('k')) === undefined)
      expect(await cache.getOrSet('k', fails)).toBe('old')
      await cache.deleteByTag('t')
      expect(await cache.getOrSet('k', fails).catch((error: Error) => error.message)).toBe('down')
    })

    const overtaken: [string, (cache: Cache) => Promise<void>][] = [
      ['delete', (cache) => cache.delete('k')],
      ['deleteByTag', (cache) => cache.deleteByTag('t')],
      ['clear', (cache) => cache.clear()],
      ['set', (cache) => cache.set('k', 'new')],
    ]
    for (const [name, invalidate] of overtaken)
      on(`a load overtaken by ${name} is not stored`, async (bench) => {
        const cache = bench.cache()
        const load = heldLoad('old', (entry) => entry.tag('t'))
        const asked = cache.getOrSet('k', load.factory)
        await load.started
        await invalidate(cache)
        load.release()
        expect(await asked).toBe('old')
        expect(await cache.get('k')).toBe(name === 'set' ? 'new' : undefined)
      })

    if (subject.layer === 'shared') describeSharedDriver(test, on)
  })
}
