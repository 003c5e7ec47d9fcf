import { expect, it } from 'vitest'
import { cachesWith } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { FactoryEntry } from './index.ts'
import { MemoryPlace, memoryStore } from './testing/index.ts'

const names = Array.from({ length: 20_000 }, (_, n) => `tag:${n}`)
/** It takes 20 ms, and took 16 s when each tag was looked for in a list. */
const boundMs = 5_000
const cacheWith = cachesWith(() => ({ namespace: 'tags', ttlMs: 60_000, l2HardTimeoutMs: 60_000, l2: memoryStore(new MemoryPlace()) }))

it.each([
  ['one by one', (entry: FactoryEntry) => names.forEach((name) => entry.tag(name))],
  ['at once', (entry: FactoryEntry) => entry.tag(...names)],
])('a factory may name thousands of tags %s, some of them again; each of them counts', async (_how, tag) => {
  const cache = cacheWith({ l1: memory({ maxBytes: 1e8 }) })
  const begunAt = performance.now()
  const load = (entry: FactoryEntry): string => {
    tag(entry)
    entry.tag('late', 'given')
    return 'kept'
  }
  const tags = ['given', 'given', 'tag:5']
  expect(await cache.getOrSet('k', load, { tags })).toBe('kept')
  expect(performance.now() - begunAt).toBeLessThan(boundMs)
  expect((await cache.explain('k')).l2).toMatchObject({ state: 'fresh', tags: { length: names.length + 2 } })
  for (const name of ['tag:19999', 'late', 'given']) {
    await cache.getOrSet('k', load, { tags })
    await cache.deleteByTag(name)
    expect(await cache.get('k')).toBeUndefined()
  }
})
