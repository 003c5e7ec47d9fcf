import { randomBytes } from 'node:crypto'
import { constants, zstdCompressSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { cachesWith } from './caches.fixture.ts'
import { compressed, createCache, jsonSerializer, type Serializer, v8Serializer } from './index.ts'
import { MemoryPlace, memoryStore } from './testing/index.ts'

const sizeOf = (serializer: Serializer, value: unknown): number => serializer.encode(value).length
const decodeOf = (serializer: Serializer, body: Uint8Array): unknown => (serializer.decode as (body: Uint8Array) => unknown)(body)
const text = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ id, title: `film ${id}`, studio: 'UFA' })))

describe('compressed', () => {
  const cacheWith = cachesWith(() => ({ namespace: 'packed', ttlMs: 60_000 }))

  it('brings back what it was given, by whatever serializer, and takes the less room the more it gains', () => {
    const values = [null, 0, '', 'short', 'ü€😀'.repeat(1_000), text, randomBytes(5_000).toString('latin1'), [text, { text }]]
    for (const of of [jsonSerializer, v8Serializer]) {
      const serializer = compressed(of)
      for (const value of values) expect(decodeOf(serializer, serializer.encode(value) as Uint8Array)).toEqual(value)
      expect(serializer.name).toBe(`${of.name}.zstd`)
      expect(sizeOf(serializer, text)).toBeLessThan(sizeOf(of, text) / 4)
      // One byte says that it is as it was.
      expect(sizeOf(serializer, 'short')).toBe(sizeOf(of, 'short') + 1)
    }
    const noise = randomBytes(5_000)
    expect(sizeOf(compressed(v8Serializer), noise)).toBe(sizeOf(v8Serializer, noise) + 1)
    expect(sizeOf(compressed(jsonSerializer, { aboveBytes: 10_000 }), text)).toBe(Buffer.byteLength(JSON.stringify(text)) + 1)
    const rich = { at: new Date(0), map: new Map([['k', 1n]]), text }
    const serializer = compressed(v8Serializer)
    expect(decodeOf(serializer, serializer.encode(rich) as Uint8Array)).toEqual(rich)
  })

  it('values that do not compress are soon left alone, and tried again now and then', () => {
    const serializer = compressed(v8Serializer)
    const isPacked = (value: unknown): boolean => sizeOf(serializer, value) < sizeOf(v8Serializer, value)
    for (let count = 0; count < 8; count++) expect(isPacked(randomBytes(2_000))).toBe(false)
    // It is given up: what would pay is not noticed at once, but before long.
    expect(isPacked(text)).toBe(false)
    expect(Array.from({ length: 32 }, () => isPacked(text))).toContain(true)
    expect(isPacked(text)).toBe(true)
  })

  it('a hostile body costs neither memory nor an error: it is removed, counted, and loaded anew', async () => {
    const place = new MemoryPlace()
    const serializer = compressed(jsonSerializer, { maxBytes: 1_048_576 })
    const bomb = zstdCompressSync(Buffer.alloc(300_000_000, '"'), { pledgedSrcSize: 300_000_000 })
    const wide = zstdCompressSync(text, { params: { [constants.ZSTD_c_windowLog]: 27 } }).subarray(0, 200)
    const bodies = [
      Buffer.concat([Buffer.from([1]), bomb]),
      Buffer.concat([Buffer.from([1]), wide]),
      Buffer.from([2, 34, 34]),
      Buffer.alloc(0),
    ]
    const hostile: Serializer = {
      ...serializer,
      binary: true,
      encode: (value) => bodies[value as number] as Uint8Array,
      decode: () => 'written',
    }
    const writer = cacheWith({ l2: memoryStore(place), serializer: hostile })
    const cache = cacheWith({ l2: memoryStore(place), serializer })
    for (const key of bodies.keys()) await writer.set(`k${key}`, key)
    const before = process.memoryUsage()
    for (const key of bodies.keys()) expect(await cache.getOrSet(`k${key}`, () => 'loaded')).toBe('loaded')
    const after = process.memoryUsage()
    expect(after.arrayBuffers + after.external - before.arrayBuffers - before.external).toBeLessThan(50e6)
    expect(cache.stats()).toMatchObject({ errors: 0, faults: bodies.length })
    // The removal may have overtaken the first load.
    await expect.poll(() => cache.getOrSet('k0', () => 'loaded').then(() => cache.get('k0'))).toBe('loaded')
  })

  it('unpacks no further than its limit, whatever a body claims to be', () => {
    const packedOf = (length: number): Uint8Array => {
      const params = { [constants.ZSTD_c_windowLog]: 10 }
      return Buffer.concat([Buffer.from([1]), zstdCompressSync(JSON.stringify('x'.repeat(length)), { params })])
    }
    const serializer = compressed(jsonSerializer, { maxBytes: 10_000 })
    expect(decodeOf(serializer, packedOf(9_000))).toHaveLength(9_000)
    expect(() => decodeOf(serializer, packedOf(11_000))).toThrow(/larger than 10000/)
  })

  it('what is too long to be taken apart again is not compressed', () => {
    const serializer = compressed(jsonSerializer, { maxBytes: 2_000 })
    const long = 'x'.repeat(3_000)
    expect(decodeOf(serializer, serializer.encode(long) as Uint8Array)).toBe(long)
  })

  it('maxEntryBytes counts what is stored; other processes need the same serializer', async () => {
    const place = new MemoryPlace()
    const open = (serializer?: Serializer) => cacheWith({ l2: memoryStore(place), maxEntryBytes: 2_000, serializer })
    const packed = open(compressed())
    await packed.set('k', text)
    expect(text.length).toBeGreaterThan(4_000)
    expect(await open(compressed()).get('k')).toBe(text)
    expect(await open().get('k')).toBeUndefined()
  })

  it('refuses wrong options by name', () => {
    expect(() => compressed(jsonSerializer, { aboveBytes: -1 })).toThrow('compressed.aboveBytes')
    expect(() => compressed(jsonSerializer, { maxBytes: Number.NaN })).toThrow('compressed.maxBytes')
    expect(() => compressed(jsonSerializer, { level: 3 } as object)).toThrow('level is unknown')
    expect(() => createCache({ namespace: 'n', l2: memoryStore(new MemoryPlace()), ttlMs: 1, serializer: compressed() })).not.toThrow()
  })
})
