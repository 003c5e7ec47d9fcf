import { describe, expect, it, vi } from 'vitest'
import { cachesWith, onVirtualTime } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { CacheOptions, SchemaLike } from './index.ts'
import { MemoryPlace, memoryStore } from './testing/index.ts'

const leaseMs = 300
const cacheWith = cachesWith(() => ({ namespace: 'look-up', ttlMs: 1_000, leaseMs }))
onVirtualTime()
const notAsked = (): never => {
  throw new Error('the factory was not to be asked')
}

describe('while another process loads', () => {
  async function beside(options: Partial<CacheOptions>) {
    const place = new MemoryPlace()
    const other = cacheWith({ l2: memoryStore(place) })
    const cache = cacheWith({ l2: memoryStore(place), ...options })
    const load = Promise.withResolvers<string>()
    other.getOrSet('k', () => load.promise, { ttlMs: 50 }).catch(() => undefined)
    await vi.advanceTimersByTimeAsync(0)
    return { cache, load }
  }

  it('who has waited for leaseWaitMs runs his own factory', async () => {
    const leaseWaitMs = 2 * leaseMs
    const { cache } = await beside({ leaseWaitMs })
    const own = vi.fn<() => string>(() => 'own')
    const asked = cache.getOrSet('k', own)
    await vi.advanceTimersByTimeAsync(leaseWaitMs - 1)
    expect(own).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(2)
    expect(own).toHaveBeenCalledTimes(1)
    expect(await asked).toBe('own')
  })

  it('what was made without the right to fill is not in l2, and lives in l1 for suspectTtlMs', async () => {
    const { cache } = await beside({ l1: memory({ maxBytes: 1e6 }), leaseWaitMs: 0, suspectTtlMs: 40 })
    expect(await cache.getOrSet('k', () => 'own')).toBe('own')
    expect(await cache.getOrSet('k', notAsked)).toBe('own')
    expect(await cache.explain('k')).toMatchObject({ l1: { state: 'fresh', freshMs: 40 }, l2: { state: 'absent' } })
  })

  it('a copy that is stale, and may be served behind a refresh, is served at once', async () => {
    const place = new MemoryPlace()
    const make = () => cacheWith({ l2: memoryStore(place), staleWhileRevalidateMs: 60_000 })
    const [other, cache] = [make(), make()]
    await other.set('k', 'old')
    await vi.advanceTimersByTimeAsync(1_001)
    expect(await other.getOrSet('k', () => new Promise(() => undefined))).toBe('old')
    let answer: unknown
    cache.getOrSet('k', notAsked).then(
      (value) => (answer = value),
      (error: unknown) => (answer = error),
    )
    await vi.advanceTimersByTimeAsync(0)
    expect(answer).toBe('old')
  })

  it('what it has made is not for who asks when that is stale by now, though a schema is still being asked for others', async () => {
    const slow: SchemaLike = { '~standard': { validate: () => new Promise((resolve) => setTimeout(() => resolve({}), 200)) } }
    const { cache, load } = await beside({})
    const first = cache.getOrSet('k', notAsked, { schema: slow })
    await vi.advanceTimersByTimeAsync(5)
    load.resolve('old')
    await vi.advanceTimersByTimeAsync(100)
    const second = cache.getOrSet('k', () => 'new')
    await vi.advanceTimersByTimeAsync(200)
    expect(await first).toBe('old')
    expect(await second).toBe('new')
  })
})
