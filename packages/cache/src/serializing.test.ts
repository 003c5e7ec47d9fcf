import { describe, expect, it, vi } from 'vitest'
import { cachesWith } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { Cache, LoggerLike, SchemaLike, Serializer } from './index.ts'
import { MemoryPlace, memoryStore } from './testing/index.ts'

const cacheWith = cachesWith(() => ({ namespace: 'values', ttlMs: 60_000 }))
const refused = expect.objectContaining({ code: 'ERR_CACHE_NOT_SERIALIZABLE' }) as Error
const withFunction = () => ({ call: () => 1 })

describe('what cannot be handed out is refused at the first call, and counts as one error', () => {
  const odd = (serializer: Partial<Serializer>) =>
    cacheWith({
      l2: memoryStore(new MemoryPlace()),
      serializer: { name: 'odd', encode: () => 'x', decode: () => 1, ...serializer } as Serializer,
    })
  const fails = (): never => {
    throw new Error('not this one')
  }
  const kinds: [string, () => Cache][] = [
    ['a copy of a function', () => cacheWith({ l1: memory({ maxBytes: 1e6 }), values: 'copied', staleIfErrorMs: 60_000 })],
    ['a serializer that throws', () => odd({ encode: fails })],
    ['one that cannot read what it has written', () => odd({ decode: fails })],
    ['one that makes a promise, which fails', () => odd({ encode: (async () => fails()) as never })],
  ]
  it.each(kinds)('%s', async (_name, make) => {
    const cache = make()
    await expect(cache.getOrSet('k', withFunction)).rejects.toEqual(refused)
    await expect(cache.set('k', withFunction())).rejects.toEqual(refused)
    expect((await cache.getOrSetMany(['k'], async () => new Map([['k', withFunction()]]))).get('k')).toEqual(refused)
    expect(cache.stats()).toMatchObject({ hits: 0, misses: 0, stale: 0, errors: 2, entries: 0 })
  })

  it('also where the value is not to be stored, or a stale copy could stand in', async () => {
    const cache = cacheWith({ l1: memory({ maxBytes: 1e6 }), values: 'copied', ttlMs: 1, staleIfErrorMs: 60_000 })
    await cache.set('k', 'stale')
    await expect.poll(() => cache.get('k')).toBeUndefined()
    await expect(cache.getOrSet('k', withFunction)).rejects.toEqual(refused)
    const { misses } = cache.stats()
    const skipped = cache.getOrSet('other', (entry) => {
      entry.skip()
      return withFunction()
    })
    await expect(skipped).rejects.toEqual(refused)
    expect(cache.stats()).toMatchObject({ misses, stale: 0, errors: 2 })
  })
})

it('what its owner changes after set is not what was set', async () => {
  const cache = cacheWith({ l1: memory({ maxBytes: 1e6 }), values: 'copied' })
  const value = { n: 1 }
  const setting = cache.set('k', value)
  value.n = 2
  await setting
  expect(await cache.get('k')).toEqual({ n: 1 })
})

describe('log lines hold no values', () => {
  const quiet = (): void => undefined
  const secret = 'card 4111'
  const strict: SchemaLike = {
    '~standard': {
      validate: (value) => {
        throw new Error(`not expected: ${String(value)}`)
      },
    },
  }
  it.each([
    ['an entry that cannot be read', undefined],
    ['one of which a schema throws', strict],
  ])('%s', async (_name, schema) => {
    const logger = { debug: quiet, info: quiet, warn: vi.fn<LoggerLike['warn']>(), error: quiet }
    const place = new MemoryPlace()
    const writer = cacheWith({
      l2: memoryStore(place),
      serializer: { name: 'plain', encode: String, decode: (body: string) => body },
    })
    await writer.set('k', secret)
    const decode = (body: string): unknown => (schema ? body : JSON.parse(body))
    const cache = cacheWith({ l2: memoryStore(place), logger, serializer: { name: 'plain', encode: String, decode } })
    expect(await cache.get('k', { schema })).toBeUndefined()
    expect(cache.stats().faults).toBe(1)
    expect(logger.warn).toHaveBeenCalledTimes(1)
    expect(JSON.stringify(logger.warn.mock.calls, (_key, part: unknown) => (part instanceof Error ? String(part) : part))).not.toContain(
      '411',
    )
  })
})

it('only what is a Standard Schema may say that an entry does not fit', async () => {
  const cache = cacheWith({ l2: memoryStore(new MemoryPlace()) })
  await cache.set('k', 1)
  for (const schema of [{}, { parse: () => 1 }, null] as unknown as SchemaLike[]) {
    await expect(cache.get('k', { schema })).rejects.toMatchObject({ code: 'ERR_CACHE_OPTION' })
    await expect(cache.getOrSet('k', () => 2, { schema })).rejects.toMatchObject({ code: 'ERR_CACHE_OPTION' })
  }
  expect(await cache.get('k')).toBe(1)
})
