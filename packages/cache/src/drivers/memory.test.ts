import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createCache } from '../index.ts'
import { describeCacheDriver } from '../testing/index.ts'
import { estimateBytes } from './estimate.ts'
import { memory } from './memory.ts'

const entry = (value: unknown) => ({
  value,
  freshUntil: 1e12,
  revalidateUntil: 0,
  errorUntil: 0,
  position: 0,
  epoch: 0,
  tags: [],
  retryAt: 0,
  refreshAt: 1e12,
  shared: false,
})

describe('memory', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('lets what nobody asks for go first, and says so exactly once', () => {
    const removed: unknown[] = []
    const store = memory({ maxBytes: 1e6, maxEntries: 3 }).open({ onRemove: ({ value }) => removed.push(value), sharedBytes: () => 0 })
    for (const key of ['a', 'b', 'c']) store.set(key, entry(key))
    store.get('a')
    store.set('d', entry('d'))
    store.set('a', entry('a2'))
    store.delete('c')
    expect(removed).toEqual(['b', 'a', 'c'])
    expect(store.stats()).toMatchObject({ entries: 2, evictions: 1 })
    store.clear()
    expect(removed).toHaveLength(5)
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0 })
  })

  it('never holds more than maxBytes and refuses what alone is larger', () => {
    const store = memory({ maxBytes: 50_000 }).open({ onRemove: () => undefined, sharedBytes: () => 0 })
    for (let index = 0; index < 1_000; index++) {
      store.set(`k${index}`, entry('x'.repeat(index)))
      expect(store.stats().bytes).toBeLessThanOrEqual(50_000)
    }
    expect(store.get('k999')?.value).toBe('x'.repeat(999))
    expect(store.set('k999', entry('x'.repeat(50_000)))).toBe(false)
    expect(store.get('k999')).toBeUndefined()
  })

  it('says what it costs, to a fifth, whatever is kept', () => {
    const program = join(import.meta.dirname, 'memory.fixture.ts')
    const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--conditions=@platform/source', program], { encoding: 'utf8' })
    expect(stderr).toBe('')
    const found = JSON.parse(stdout) as { kind: string; heap: number; said: number }[]
    expect(found).toHaveLength(14)
    // V8 keeps a list of fractions with or without a box for each.
    const least = (kind: string): number => (kind === 'lists of fractions' ? 0.4 : 0.8)
    expect(found.filter(({ kind, heap, said }) => said < least(kind) * heap || said > 1.2 * heap)).toEqual([])
  }, 60_000)

  it('sweeps what has expired without being asked for it', async () => {
    vi.useFakeTimers()
    const cache = createCache({ namespace: 'sweep', l1: memory({ maxBytes: 1e6 }), ttlMs: 1_000 })
    for (let index = 0; index < 100; index++) await cache.set(`k${index}`, index, { tags: ['t'] })
    expect(cache.stats().entries).toBe(100)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 })
    expect(vi.getTimerCount()).toBe(0)
    await cache.close()
  })

  it('refuses an entry whose own tags are larger than all that may be kept', async () => {
    const cache = createCache({ namespace: 'tags', l1: memory({ maxBytes: 10_000 }), ttlMs: 60_000 })
    await cache.set('small', 1)
    await cache.set('k', 1, { tags: Array.from({ length: 20 }, (_, index) => `${index}${'x'.repeat(1_000)}`) })
    expect(await cache.get('small')).toBe(1)
    expect(await cache.get('k')).toBeUndefined()
    expect(cache.stats().bytes).toBeLessThan(1_000)
    await cache.close()
  })

  it('belongs to one cache', async () => {
    const l1 = memory({ maxBytes: 1e6 })
    const cache = createCache({ namespace: 'one', l1, ttlMs: 1_000 })
    expect(() => createCache({ namespace: 'two', l1, ttlMs: 1_000 })).toThrow('one per cache')
    await cache.close()
    expect(() => memory({ maxBytes: 1 })).toThrow('maxBytes')
    expect(() => memory({ maxBytes: 1e6, maxEntries: 0 })).toThrow('maxEntries')
  })

  it('estimates nested values, shared parts and cycles once', () => {
    const shared = { text: 'x'.repeat(1_000) }
    const twice = estimateBytes([shared, shared], 1e9)
    expect(twice).toBeGreaterThan(1_000)
    expect(twice).toBeLessThan(1_500)
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    expect(estimateBytes(cycle, 1e9)).toBeLessThan(1_000)
    expect(estimateBytes(Buffer.alloc(5_000), 1e9)).toBeGreaterThan(5_000)
    expect(estimateBytes(new Map([['k', new Set(['x'.repeat(100)])]]), 1e9)).toBeGreaterThan(200)
    const lazy = {
      get rows(): never {
        throw new Error('asked')
      },
    }
    expect(estimateBytes(lazy, 1e9)).toBeLessThan(100)
  })
})

describeCacheDriver(
  { describe, it, expect },
  { name: 'memory', layer: 'local', open: async () => ({ driver: () => memory({ maxBytes: 1e7 }), close: async () => undefined }) },
)
