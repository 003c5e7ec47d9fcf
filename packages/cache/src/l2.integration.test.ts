import { testRedis } from '@platform/stack/testing'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SharedDriver, SharedStore } from './driver.ts'
import { memory } from './drivers/memory.ts'
import { redis, redisBus } from './drivers/redis.ts'
import { createCache, type Cache, type CacheOptions } from './index.ts'

let server: Awaited<ReturnType<typeof testRedis>>
let client: Redis
let spaces = 0
beforeAll(async () => {
  server = await testRedis()
  client = new Redis(server.url)
})
afterAll(async () => {
  client.disconnect()
  await server.close()
})

/** The Redis driver, with one of its steps in the hands of the test. */
function tampered(change: (store: SharedStore) => Partial<SharedStore>): SharedDriver {
  const driver = redis({ client })
  return {
    ...driver,
    open: (options) => {
      const store = driver.open(options)
      const changed = change(store)
      return new Proxy(store, {
        get: (target, name) => {
          if (name in changed) return changed[name as keyof SharedStore]
          const own = target[name as keyof SharedStore]
          return typeof own === 'function' ? (own as () => unknown).bind(target) : own
        },
      })
    },
  }
}
async function using(caches: Cache[], body: () => Promise<void>): Promise<void> {
  try {
    await body()
  } finally {
    await Promise.all(caches.map((cache) => cache.close({ timeoutMs: 0 })))
  }
}
const base = (): CacheOptions => ({ namespace: `l2-${++spaces}`, ttlMs: 600_000, l2HardTimeoutMs: 10_000 })

describe('l2', () => {
  it('an invalidation that l2 refuses counts here at once, everywhere once delivered, and says so', async () => {
    let refusing = true
    const options = base()
    const l2 = tampered((store) => ({ invalidate: (what) => (refusing ? Promise.reject(new Error('READONLY')) : store.invalidate(what)) }))
    const a = createCache({ ...options, l1: memory({ maxBytes: 1e6 }), l2, leaseWaitMs: 60_000 })
    const b = createCache({ ...options, l2: redis({ client }) })
    await using([a, b], async () => {
      for (const key of ['key', 'tagged']) await b.set(key, 'old', { tags: key === 'tagged' ? ['t'] : [] })
      await expect(a.delete('key')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING', cause: new Error('READONLY') })
      await expect(a.deleteByTag('t')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
      expect(a.stats().pendingInvalidations).toBe(2)
      for (const key of ['key', 'tagged']) {
        expect(await a.get(key)).toBeUndefined()
        expect(await a.getOrSet(key, () => 'new', { tags: ['t'] })).toBe('new')
      }
      refusing = false
      await expect.poll(() => b.get('key')).toBeUndefined()
      await expect.poll(() => b.get('tagged')).toBeUndefined()
      await expect.poll(() => a.stats().pendingInvalidations).toBe(0)
    })
  })

  it('copies that others made of the old entry meanwhile go when it is delivered', async () => {
    let refusing = true
    const options = base()
    const l2 = tampered((store) => ({ invalidate: (what) => (refusing ? Promise.reject(new Error('READONLY')) : store.invalidate(what)) }))
    const layers = () => ({ l1: memory({ maxBytes: 1e6 }), bus: redisBus({ client, heartbeatMs: 200 }) })
    const [a, b] = [createCache({ ...options, ...layers(), l2 }), createCache({ ...options, ...layers(), l2: redis({ client }) })]
    await using([a, b], async () => {
      await Promise.all([a.ready(), b.ready()])
      await b.set('k', 'old')
      await expect(a.delete('k')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
      expect(await b.getOrSet('k', () => 'not asked')).toBe('old')
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(await b.getOrSet('k', () => 'not asked')).toBe('old')
      refusing = false
      await expect.poll(() => b.getOrSet('k', () => 'new'), { timeout: 10_000 }).toBe('new')
    })
  })

  it('a look-up that another process overtakes between answer and l1 is not kept', async () => {
    const options = base()
    const gate = Promise.withResolvers<void>()
    const answered = Promise.withResolvers<void>()
    const l2 = tampered((store) => ({
      read: async (lookups) => {
        const reads = await store.read(lookups)
        answered.resolve()
        await gate.promise
        return reads
      },
    }))
    const a = createCache({ ...options, l2: redis({ client }), l1: memory({ maxBytes: 1e6 }), bus: redisBus({ client, heartbeatMs: 200 }) })
    const b = createCache({ ...options, l2, l1: memory({ maxBytes: 1e6 }), bus: redisBus({ client, heartbeatMs: 200 }) })
    await using([a, b], async () => {
      await Promise.all([a.ready(), b.ready()])
      await a.set('k', 'old')
      const before = b.getOrSet('k', () => 'not asked')
      await answered.promise
      const heard = await nextMessage(`${options.namespace}:bus`, () => a.delete('k'))
      expect(heard).toBe(true)
      gate.resolve()
      expect(await before).toBe('old')
      expect(await b.getOrSet('k', () => 'new')).toBe('new')
    })
  })

  it('a newcomer does not share a look-up that was answered before he came', async () => {
    const options = base()
    const gate = Promise.withResolvers<void>()
    const answered = Promise.withResolvers<void>()
    const l2 = tampered((store) => ({
      read: async (lookups) => {
        const reads = await store.read(lookups)
        answered.resolve()
        await gate.promise
        return reads
      },
    }))
    const [a, b] = [createCache({ ...options, l2: redis({ client }) }), createCache({ ...options, l2 })]
    await using([a, b], async () => {
      await a.set('k', 'old')
      const before = b.getOrSet('k', () => 'not asked')
      const together = b.getOrSet('k', () => 'not asked')
      await answered.promise
      await a.delete('k')
      await new Promise((resolve) => setTimeout(resolve, 5))
      const after = b.getOrSet('k', () => 'new')
      gate.resolve()
      expect([await before, await together, await after]).toEqual(['old', 'old', 'new'])
    })
  })

  it('nor a stale copy whose refresh runs, once another process has invalidated it', async () => {
    const options = { ...base(), ttlMs: 20, staleWhileRevalidateMs: 60_000 }
    const [a, b] = [createCache({ ...options, l2: redis({ client }) }), createCache({ ...options, l2: redis({ client }) })]
    await using([a, b], async () => {
      await a.set('k', 'old')
      await expect.poll(() => a.get('k')).toBeUndefined()
      const refresh = Promise.withResolvers<string>()
      expect(await b.getOrSet('k', () => refresh.promise)).toBe('old')
      expect(await b.getOrSet('k', () => 'not asked')).toBe('old')
      await a.delete('k')
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(await b.getOrSet('k', () => 'new', { ttlMs: 60_000 })).toBe('new')
      refresh.resolve('old')
      await expect.poll(() => a.get('k')).toBe('new')
    })
  })

  it('an l2 that does not answer costs its time limit at first, then nothing; requests are answered', async () => {
    let silent = true
    const options = { ...base(), l2HardTimeoutMs: 50 }
    let asked = 0
    const l2 = tampered((store) => ({
      read: (lookups) => {
        asked++
        return silent ? new Promise(() => undefined) : store.read(lookups)
      },
    }))
    const cache = createCache({ ...options, l2 })
    await using([cache], async () => {
      for (let index = 0; index < 200; index++) expect(await cache.getOrSet(`k${index}`, () => index)).toBe(index)
      expect(asked).toBeLessThan(20)
      silent = false
      await expect.poll(async () => [await cache.getOrSet('k', () => 1), await cache.get('k')], { timeout: 10_000 }).toEqual([1, 1])
    })
  })

  it('a right to load that arrives too late is given back', async () => {
    const options = { ...base(), l2HardTimeoutMs: 500 }
    const late = Promise.withResolvers<unknown>()
    const answered = Promise.withResolvers<void>()
    const l2 = tampered((store) => ({
      read: async (lookups) => {
        const reads = await store.read(lookups)
        if (!lookups[0]?.lease) return reads
        await answered.promise
        late.resolve(reads[0]?.lease)
        return reads
      },
    }))
    const cache = createCache({ ...options, l2 })
    await using([cache], async () => {
      await cache.ready()
      expect(await cache.getOrSet('k', () => 1)).toBe(1)
      answered.resolve()
      expect(await late.promise).toBe('held')
      await expect.poll(() => client.exists(`{${options.namespace}}:l:k`)).toBe(0)
    })
  })

  it('a long load keeps its right to fill', { timeout: 30_000 }, async () => {
    const cache = createCache({ ...base(), l2: redis({ client }), leaseMs: 150 })
    await using([cache], async () => {
      // A process that stands still for longer than a lease loses it: then once more.
      const load = async (): Promise<unknown> => {
        await cache.getOrSet('k', () => new Promise((resolve) => setTimeout(resolve, 600, 'slow')))
        return cache.get('k')
      }
      await expect.poll(load, { timeout: 25_000 }).toBe('slow')
    })
  })

  it('without a bus, copies in l1 live for suspectTtlMs only', async () => {
    const options = base()
    const a = createCache({ ...options, l1: memory({ maxBytes: 1e6 }), l2: redis({ client }), suspectTtlMs: 30 })
    const b = createCache({ ...options, l2: redis({ client }) })
    await using([a, b], async () => {
      await a.set('k', 'old')
      await b.set('k', 'new')
      await expect.poll(() => a.get('k')).toBe('new')
    })
  })

  it('random interleavings of three processes: nobody who asks after an invalidation gets what was written before it', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
    console.info(`seed ${seed}`)
    let state = seed
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
      return (state >>> 8) % below
    }
    const options = base()
    const caches = Array.from({ length: 3 }, () =>
      createCache({ ...options, l2: redis({ client }), leaseWaitMs: 60_000, l2SoftTimeoutMs: 10_000 }),
    )
    const written = [0, 0, 0]
    const announced = [0, 0, 0]
    const stale: string[] = []
    const pause = () => new Promise((resolve) => setTimeout(resolve, random(3)))
    const reader = async (cache: Cache) => {
      for (let round = 0; round < 150; round++) {
        const key = random(3)
        const least = announced[key] as number
        const late = random(2) === 0
        const got = await cache.getOrSet(`k${key}`, async (entry) => {
          if (!late) entry.tag(`t${key}`)
          const read = written[key] as number
          await pause()
          if (late) entry.tag(`t${key}`)
          return read
        })
        if (got < least) stale.push(`k${key}: ${got} < ${least}`)
      }
    }
    const writer = async (cache: Cache) => {
      for (let round = 0; round < 100; round++) {
        const key = random(3)
        const next = ++(written as [number])[key as 0]
        await (random(2) === 0 ? cache.delete(`k${key}`) : cache.deleteByTag(`t${key}`))
        announced[key] = Math.max(announced[key] as number, next)
        await pause()
      }
    }
    await using(caches, async () => {
      await Promise.all([...caches, ...caches].map(reader).concat(caches.slice(0, 2).map(writer)))
      expect(stale).toEqual([])
      expect(caches.reduce((hits, cache) => hits + cache.stats().hits, 0)).toBeGreaterThan(0)
    })
  })
})

/** Runs the action and resolves when a subscriber that came first has its message, and so has every other one. */
async function nextMessage(channel: string, action: () => Promise<unknown>): Promise<boolean> {
  const subscriber = client.duplicate()
  await subscriber.subscribe(channel)
  const heard = new Promise<boolean>((resolve) => {
    subscriber.on('message', (_channel, payload: string) => {
      if ((JSON.parse(payload) as unknown[])[3] === 0) setTimeout(resolve, 50, true)
    })
  })
  await action()
  const result = await heard
  subscriber.disconnect()
  return result
}
