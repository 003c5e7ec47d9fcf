/** A process of its own, with `--expose-gc`: prints the megabytes that stay after each of many kinds of traffic. */
import { setTimeout as pause } from 'node:timers/promises'
import { memory } from './drivers/memory.ts'
import { createCache } from './index.ts'
import { MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const { gc } = globalThis as unknown as { gc(): void }
async function usedMb(): Promise<number> {
  await pause(50)
  gc()
  gc()
  return process.memoryUsage().heapUsed / 1e6
}
const place = new MemoryPlace()
const cache = createCache({
  namespace: 'base',
  l1: memory({ maxBytes: 200e6 }),
  l2: memoryStore(place),
  bus: new MemoryChannel().bus(1_000),
  ttlMs: 600_000,
})
await cache.ready()
const million = 1_000_000
const traffic: Record<string, () => Promise<void>> = {
  'a million misses': async () => {
    for (let id = 0; id < million; id++) await cache.get(`miss:${id}`)
  },
  'a million loads that store nothing': async () => {
    for (let id = 0; id < million; id++) await cache.getOrSet(`skipped:${id}`, (entry) => entry.skip())
  },
  'a million tags': async () => {
    const held = Promise.withResolvers<number>()
    const load = cache.getOrSet('held', () => held.promise)
    for (let id = 0; id < million; id += 100) await cache.deleteByTag(Array.from({ length: 100 }, (_, index) => `tag:${id + index}`))
    held.resolve(1)
    await load
  },
  '200,000 expired entries with tags of their own': async () => {
    const until = performance.now() + 60_000
    for (let id = 0; id < 200_000; id++) await cache.getOrSet(`short:${id}`, () => id, { ttlMs: 1_000, tags: [`own:${id}`] })
    while (cache.stats().entries > 10 && performance.now() < until) await pause(500)
  },
}
const stays: Record<string, number> = {}
for (const [name, run] of Object.entries(traffic)) {
  const before = await usedMb()
  await run()
  // What the store keeps is not the cache's.
  place.entries.clear()
  place.versions.clear()
  place.leases.clear()
  stays[name] = Math.round((await usedMb()) - before)
}
console.log(JSON.stringify({ stays, entries: cache.stats().entries }))
await cache.close()
