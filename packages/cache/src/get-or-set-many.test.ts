import { getEventListeners } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { cachesWith, onVirtualTime } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import { noopCache } from './index.ts'

const cacheWith = cachesWith(() => ({ namespace: 'test', l1: memory({ maxBytes: 1e6 }), ttlMs: 1_000 }))
onVirtualTime()

describe('getOrSetMany', () => {
  it('asks once for what is missing, shares loads in flight, and reports failures per key', async () => {
    const cache = cacheWith()
    await cache.set('a', 'A')
    const load = Promise.withResolvers<string>()
    const single = cache.getOrSet('b', () => load.promise)
    const factory = vi.fn<(missing: readonly string[]) => Promise<Map<string, string | Error>>>(async (missing) => {
      load.resolve('B')
      return new Map<string, string | Error>(
        missing.filter((key) => key !== 'e').map((key) => [key, key === 'd' ? new Error('no d') : key.toUpperCase()]),
      )
    })
    const values = await cache.getOrSetMany(['a', 'b', 'c', 'd', 'e', 'c'], factory)
    expect(factory.mock.calls.map(([missing]) => missing)).toEqual([['c', 'd', 'e']])
    expect(values).toEqual(
      new Map<string, unknown>([
        ['a', 'A'],
        ['b', 'B'],
        ['c', 'C'],
        ['d', new Error('no d')],
      ]),
    )
    expect(await single).toBe('B')
    expect(await cache.get('c')).toBe('C')
  })

  it('a factory that throws fails its keys, not the call', async () => {
    const cache = cacheWith()
    await cache.set('a', 1)
    const boom = new Error('boom')
    expect(await cache.getOrSetMany(['a', 'b'], () => Promise.reject(boom))).toEqual(
      new Map<string, unknown>([
        ['a', 1],
        ['b', boom],
      ]),
    )
  })

  it('a signal and thousands of keys: one listener on it, and one reason for all', async () => {
    const cache = cacheWith({ l1: memory({ maxBytes: 1e8 }) })
    const keys = Array.from({ length: 10_000 }, (_, n) => `k${n}`)
    const caller = new AbortController()
    let aborted = false
    const batch = cache.getOrSetMany(
      keys,
      (_missing, { signal }) => {
        signal.addEventListener('abort', () => (aborted = true))
        return new Promise(() => undefined)
      },
      { signal: caller.signal },
    )
    await vi.advanceTimersByTimeAsync(1)
    expect(getEventListeners(caller.signal, 'abort')).toHaveLength(1)
    caller.abort(new Error('gone'))
    await expect(batch).rejects.toThrow('gone')
    expect(aborted).toBe(true)
    expect(getEventListeners(caller.signal, 'abort')).toEqual([])
    expect(cache.stats().errors).toBe(0)
  })

  it('a caller may leave when some of his keys have come already', async () => {
    const cache = cacheWith()
    const load = Promise.withResolvers<string>()
    const other = cache.getOrSet('a', () => load.promise)
    const caller = new AbortController()
    const batch = cache.getOrSetMany(['a', 'b'], () => new Promise(() => undefined), { signal: caller.signal })
    load.resolve('A')
    expect(await other).toBe('A')
    await vi.advanceTimersByTimeAsync(1)
    caller.abort(new Error('gone'))
    await expect(batch).rejects.toThrow('gone')
  })

  it('and while the factory is being called', async () => {
    const cache = cacheWith()
    const caller = new AbortController()
    const leave = (): Promise<never> => {
      caller.abort(new Error('gone'))
      return new Promise(() => undefined)
    }
    await expect(cache.getOrSet('a', leave, { signal: caller.signal })).rejects.toThrow('gone')
  })

  it('what is thrown and is no error is the cause of one', async () => {
    const fails = (): never => {
      throw 'down' // oxlint-disable-line no-throw-literal -- what is tested
    }
    for (const cache of [cacheWith(), noopCache]) {
      const failure = (await cache.getOrSetMany(['a'], fails)).get('a')
      expect(failure).toBeInstanceOf(Error)
      expect(failure).toMatchObject({ cause: 'down' })
    }
  })

  it('a factory that returns no Map is told so, and undefined is not kept', async () => {
    const cache = cacheWith()
    expect((await cache.getOrSetMany(['a'], () => ({ a: 1 }) as never)).get('a')).toMatchObject({
      message: 'the factory of getOrSetMany must return a Map',
    })
    const factory = vi.fn<() => Promise<Map<string, number>>>(async () => new Map([['a', undefined as never]]))
    for (const _ of [1, 2]) expect(await cache.getOrSetMany(['a'], factory)).toEqual(new Map())
    expect(factory).toHaveBeenCalledTimes(2)
  })

  it('an aborted caller gets its reason; the batch goes on for those who share it', async () => {
    const cache = cacheWith()
    const caller = new AbortController()
    const load = Promise.withResolvers<void>()
    const batch = cache.getOrSetMany(['a', 'b'], async (missing) => load.promise.then(() => new Map(missing.map((key) => [key, 1]))), {
      signal: caller.signal,
    })
    const shared = cache.getOrSet('b', () => 2)
    caller.abort(new Error('gone'))
    await expect(batch).rejects.toThrow('gone')
    load.resolve()
    expect(await shared).toBe(1)
  })
})
