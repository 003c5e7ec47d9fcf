/** A process of its own, with `--expose-gc`: prints for each kind of value what an entry costs in heap and what `stats().bytes` says. */
import { createCache } from '../index.ts'
import { memory } from './memory.ts'

const { gc } = globalThis as unknown as { gc(): void }
const used = (): number => {
  gc()
  gc()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
const parsed = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown
const rows = Array.from({ length: 20 }, (_, id) => ({ id, title: `Film number ${id}`, year: 1900 + id, price: id + 0.5 }))

const kinds: [kind: string, entries: number, make: (id: number) => unknown, tags: string[]][] = [
  ['numbers', 12_000, (id) => id, []],
  ['numbers, each with three tags of its own', 8_000, (id) => id, ['film', 'studio', 'page']],
  ['objects', 5_000, (id) => parsed({ id, title: 'Metropolis', text: 'x'.repeat(140), tags: ['a', 'b'] }), []],
  ['small objects', 8_000, (id) => ({ id, at: id * 1.5, ok: true, name: `n${id}` }), []],
  ['rows of a table', 500, () => parsed(rows), []],
  ['nested objects', 3_000, () => parsed({ a: { b: { c: { d: [1, 2, { e: 'f' }] } } }, n: null, list: [{}, [], {}] }), []],
  ['text in one byte a character', 3_000, (id) => parsed(`${'x'.repeat(990)}${id}`), []],
  ['text of Latin letters', 3_000, (id) => parsed(`${'é'.repeat(990)}${id}`), []],
  ['text in two bytes a character', 2_000, (id) => parsed(`${'映'.repeat(990)}${id}`), []],
  ['lists of whole numbers', 2_000, (id) => parsed(Array.from({ length: 100 }, (_, n) => n + id)), []],
  ['lists of fractions', 2_000, () => parsed(Array.from({ length: 100 }, (_, n) => n + 0.5)), []],
  ['maps', 1_000, () => new Map(Array.from({ length: 50 }, (_, n) => [`key-${n}`, n])), []],
  ['sets', 1_000, () => new Set(Array.from({ length: 50 }, (_, n) => n)), []],
  ['buffers', 3_000, () => new Uint8Array(1_000), []],
]

const found: { kind: string; heap: number; said: number }[] = []
for (const [kind, entries, make, tags] of kinds) {
  const cache = createCache({ namespace: 'heap', l1: memory({ maxBytes: 1e9 }), ttlMs: 600_000 })
  const before = used()
  for (let id = 0; id < entries; id++) await cache.getOrSet(`film:${id}`, () => make(id), { tags: tags.map((tag) => `${tag}:${id}`) })
  const heap = (used() - before) / entries
  found.push({ kind, heap: Math.round(heap), said: Math.round(cache.stats().bytes / entries) })
  await cache.close()
}
console.log(JSON.stringify(found))
