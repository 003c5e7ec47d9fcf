import { describe, expect, it } from 'vitest'
import { cachesWith } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { Cache, FactoryEntry } from './index.ts'
import { faultyDriver, MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

/** A source that can be read half-way: the factory has its (old) answer in hand and is held back until the test lets it go. */
function source() {
  let value = 'old'
  const gates: PromiseWithResolvers<void>[] = []
  return {
    write(next: string) {
      value = next
    },
    /** Lets the load with this number return what it had read when it began. */
    release(index: number) {
      gates[index]?.resolve()
    },
    get loads() {
      return gates.length
    },
    read(prepare?: (entry: FactoryEntry) => void) {
      return async (entry: FactoryEntry) => {
        const read = value
        const gate = Promise.withResolvers<void>()
        gates.push(gate)
        await gate.promise
        prepare?.(entry)
        return read
      }
    },
  }
}
const started = async (db: ReturnType<typeof source>, loads: number) => {
  for (let turns = 0; db.loads < loads; turns++) {
    if (turns > 10_000) throw new Error(`load ${loads} has not begun`)
    await Promise.resolve()
  }
}

describe('an invalidation while the old value is being loaded', () => {
  const cacheWith = cachesWith(() => ({ namespace: 'races', l1: memory({ maxBytes: 1e6 }), ttlMs: 60_000, staleIfErrorMs: 60_000 }))

  const invalidations: [string, { tags?: string[]; late?: string }, (cache: Cache) => Promise<void>][] = [
    ['delete', {}, (cache) => cache.delete('k')],
    ['deleteByTag, tag known before', { tags: ['t'] }, (cache) => cache.deleteByTag('t')],
    ['deleteByTag, tag that the factory names only afterwards', { late: 't' }, (cache) => cache.deleteByTag('t')],
    ['clear', {}, (cache) => cache.clear()],
  ]
  for (const [name, { tags, late }, invalidate] of invalidations) {
    const prepare = (entry: FactoryEntry) => {
      if (late) entry.tag(late)
    }

    it(`${name}: the result reaches who waited, is not stored, and nobody later gets it`, async () => {
      const cache = cacheWith()
      const db = source()
      const before = cache.getOrSet('k', db.read(prepare), { tags })
      await started(db, 1)
      db.write('new')
      await invalidate(cache)
      const after = cache.getOrSet('k', db.read(prepare), { tags })
      db.release(0)
      expect(await before).toBe('old')
      await started(db, 2)
      db.release(1)
      expect(await after).toBe('new')
      expect(await cache.get('k')).toBe('new')
    })

    it(`${name}: nobody came in between, the next request loads anew`, async () => {
      const cache = cacheWith()
      const db = source()
      const before = cache.getOrSet('k', db.read(prepare), { tags })
      await started(db, 1)
      db.write('new')
      await invalidate(cache)
      db.release(0)
      await before
      expect(await cache.get('k')).toBeUndefined()
      expect(await cache.getOrSet('k', () => Promise.reject(new Error('down'))).catch((error: Error) => error.message)).toBe('down')
    })
  }

  it('the load that began after it is stored, although the older one ends last', async () => {
    const cache = cacheWith()
    const db = source()
    const before = cache.getOrSet('k', db.read(), { tags: ['t'] })
    await started(db, 1)
    db.write('new')
    await cache.deleteByTag('t')
    const after = cache.getOrSet('k', db.read(), { tags: ['t'] })
    await started(db, 2)
    db.release(1)
    expect(await after).toBe('new')
    db.release(0)
    expect(await before).toBe('old')
    expect(await cache.get('k')).toBe('new')
  })

  it.each([
    ['of its key', (cache: Cache) => cache.delete('k')],
    ['of its tag', (cache: Cache) => cache.deleteByTag('t')],
    ['of all', (cache: Cache) => cache.clear()],
  ])('a value that is being set is not kept either: %s', async (_name, invalidate) => {
    const l2 = faultyDriver(memoryStore(new MemoryPlace()), (operation) => ({ replyMs: operation === 'write' ? 20 : 0 }))
    const cache = cacheWith({ l2, bus: new MemoryChannel().bus(60_000) })
    await cache.ready()
    const setting = cache.set('k', 'old', { tags: ['t'] })
    await invalidate(cache)
    await setting
    expect(await cache.get('k')).toBeUndefined()
  })

  it('a tag that is named at the end counts, though thousands of others were invalidated since and forgotten', async () => {
    const cache = cacheWith()
    const db = source()
    const before = cache.getOrSet(
      'k',
      db.read((entry) => entry.tag('t')),
    )
    await started(db, 1)
    db.write('new')
    await cache.deleteByTag('t')
    for (const part of [0, 1, 2]) await cache.deleteByTag(Array.from({ length: 5_000 }, (_, n) => `other:${part}:${n}`))
    const after = cache.getOrSet('k2', db.read(), { tags: ['t'] })
    await started(db, 2)
    for (const index of [0, 1]) db.release(index)
    expect(await before).toBe('old')
    expect(await cache.get('k')).toBeUndefined()
    await after
    expect(await cache.get('k2')).toBe('new')
  })

  it('a tag that was forgotten as no longer needed is known again by what carries it since', async () => {
    const cache = cacheWith()
    const db = source()
    const long = cache.getOrSet('long', db.read())
    await started(db, 1)
    await cache.deleteByTag('t')
    await cache.set('k', 'old', { tags: ['t'] })
    db.release(0)
    await long
    expect(await cache.get('k')).toBe('old')
    await cache.deleteByTag('t')
    expect(await cache.get('k')).toBeUndefined()
  })

  it('in a batch, only what was invalidated is not stored', async () => {
    const cache = cacheWith()
    const gate = Promise.withResolvers<void>()
    const batch = cache.getOrSetMany(['k', 'other'], (missing) => gate.promise.then(() => new Map(missing.map((key) => [key, 'old']))))
    await Promise.resolve()
    await cache.delete('k')
    gate.resolve()
    expect((await batch).get('k')).toBe('old')
    expect(await cache.get('k')).toBeUndefined()
    expect(await cache.get('other')).toBe('old')
  })

  it('set: the older load does not overwrite the newer value', async () => {
    const cache = cacheWith()
    const db = source()
    const before = cache.getOrSet('k', db.read())
    await started(db, 1)
    await cache.set('k', 'new')
    expect(await cache.getOrSet('k', db.read())).toBe('new')
    db.release(0)
    expect(await before).toBe('old')
    expect(await cache.get('k')).toBe('new')
  })

  it('other keys and tags are left alone', async () => {
    const cache = cacheWith()
    const db = source()
    const load = cache.getOrSet('k', db.read(), { tags: ['t'] })
    await started(db, 1)
    await cache.delete('k2')
    await cache.deleteByTag('t2')
    db.release(0)
    await load
    expect(await cache.get('k')).toBe('old')
  })

  it('a refresh behind a stale copy is overtaken like any other load', async () => {
    const cache = cacheWith({ ttlMs: 1, staleIfErrorMs: 0, staleWhileRevalidateMs: 60_000 })
    const db = source()
    await cache.set('k', 'older')
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await cache.getOrSet('k', db.read())).toBe('older')
    await started(db, 1)
    db.write('new')
    await cache.delete('k')
    db.release(0)
    const after = cache.getOrSet('k', db.read())
    await started(db, 2)
    db.release(1)
    expect(await after).toBe('new')
  })

  it('random interleavings: nobody who asks after an invalidation gets what was written before it', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
    console.info(`seed ${seed}`)
    let state = seed
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
      return (state >>> 8) % below
    }
    const cache = cacheWith()
    const version = [0, 0, 0]
    /** The version whose invalidation has ended: nothing older may be served to who asks from here on. */
    const announced = [0, 0, 0]
    const stale: string[] = []
    const pause = async (most: number) => {
      for (let left = random(most); left > 0; left--) await Promise.resolve()
    }
    const reader = async () => {
      for (let round = 0; round < 400; round++) {
        const key = random(3)
        const least = announced[key] as number
        const late = random(2) === 0
        const got = await cache.getOrSet(`k${key}`, async (entry) => {
          if (!late) entry.tag(`t${key}`)
          const read = version[key] as number
          await pause(12)
          if (late) entry.tag(`t${key}`)
          return read
        })
        if (got < least) stale.push(`k${key}: ${got} < ${least}`)
        await pause(6)
      }
    }
    const writer = async () => {
      for (let round = 0; round < 400; round++) {
        const key = random(3)
        const next = (version[key] as number) + 1
        version[key] = next
        await (random(2) === 0 ? cache.delete(`k${key}`) : cache.deleteByTag(`t${key}`))
        announced[key] = next
        await pause(20)
      }
    }
    await Promise.all([reader(), reader(), reader(), writer()])
    expect(stale).toEqual([])
    expect(cache.stats().hits).toBeGreaterThan(0)
  })
})
