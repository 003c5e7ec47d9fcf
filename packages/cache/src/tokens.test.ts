import { describe, expect, it, vi } from 'vitest'
import { cachesWith } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import { HeldBus } from './held-bus.fixture.ts'
import type { Cache, CacheOptions, InvalidationBus, TransactionLike } from './index.ts'
import { type Fault, faultyDriver, MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const cacheWith = cachesWith(() => ({ namespace: 'tokens', ttlMs: 600_000 }))

const layers = { 'l1 and bus': [false, true], 'l1 over l2': [true, false], 'l1 over l2 and bus': [true, true] } as const
type Layers = keyof typeof layers

/** A process that writes, and one that holds copies and hears of nothing. */
async function twoProcesses(
  name: Layers,
  { invalidate = () => ({}), ...options }: Partial<CacheOptions> & { invalidate?: () => Fault } = {},
) {
  const [withL2, withBus] = layers[name]
  const [place, channel] = [new MemoryPlace(), new MemoryChannel()]
  const held = new HeldBus(channel.bus(60_000))
  const asked = vi.fn<() => void>()
  const make = (bus: CacheOptions['bus'], fault: (operation: string) => Fault): Cache =>
    cacheWith({
      l1: memory({ maxBytes: 1e6 }),
      suspectTtlMs: 600_000,
      ...(withL2 && { l2: faultyDriver(memoryStore(place), fault) }),
      ...(withBus && { bus }),
      ...options,
    })
  const writer = make(channel.bus(60_000), (operation) => (operation === 'invalidate' ? invalidate() : {}))
  const reader = make(held.bus, (operation) => {
    if (operation === 'read') asked()
    return {}
  })
  await Promise.all([writer.ready(), reader.ready()])
  expect(await reader.getOrSet('k', () => 'old', { tags: ['t'] })).toBe('old')
  held.hold()
  return { writer, reader, held, asked }
}

const refuse = (): never => {
  throw new Error('the source is away')
}

const reads: [string, (cache: Cache, after: string) => Promise<unknown>][] = [
  ['getOrSet', (cache, after) => cache.getOrSet('k', () => 'new', { after, tags: ['t'] })],
  [
    'getOrSetMany',
    async (cache, after) => (await cache.getOrSetMany(['k'], () => new Map([['k', 'new']]), { after, tags: ['t'] })).get('k'),
  ],
  ['get', async (cache, after) => (await cache.get('k', { after })) ?? 'new'],
]
const writes: [string, (cache: Cache) => Promise<void>][] = [
  ['delete', (cache) => cache.delete('k')],
  ['deleteByTag', (cache) => cache.deleteByTag('t')],
  ['set', (cache) => cache.set('k', 'new', { tags: ['t'] })],
  ['clear', (cache) => cache.clear()],
]

for (const name of Object.keys(layers) as Layers[])
  describe(`a token of another process, ${name}`, () => {
    for (const [write, invalidate] of writes)
      for (const [read, readAfter] of reads)
        it(`${read} after its ${write} gets nothing from before, although nobody was told yet`, async () => {
          const { writer, reader } = await twoProcesses(name)
          await invalidate(writer)
          expect(await reader.get('k')).toBe('old')
          expect(await readAfter(reader, await writer.token())).toBe('new')
        })

    it('stands for what is still under way when it is asked for', async () => {
      const { writer, reader } = await twoProcesses(name, { invalidate: () => ({ delayMs: 20 }) })
      const work = writer.delete('k')
      expect(await reader.getOrSet('k', () => 'new', { after: await writer.token() })).toBe('new')
      await work
    })

    it('no stale copy stands in, neither at once nor for a slow or failing factory', async () => {
      const { writer, reader } = await twoProcesses(name, {
        staleWhileRevalidateMs: 600_000,
        staleIfErrorMs: 600_000,
        softTimeoutMs: 1,
        ttlMs: 1,
      })
      await new Promise((resolve) => setTimeout(resolve, 5))
      await writer.delete('k')
      const after = await writer.token()
      expect(await reader.getOrSet('k', refuse, { after }).catch((error: Error) => error.message)).toBe('the source is away')
      const slow = () => new Promise((resolve) => setTimeout(() => resolve('new'), 20))
      expect(await reader.getOrSet('k', slow, { after })).toBe('new')
    })

    it('a load that began before is not waited for', async () => {
      const { writer, reader } = await twoProcesses(name)
      const [before, started] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()]
      const joined = reader.getOrSet('other', () => (started.resolve(), before.promise))
      await started.promise
      await writer.delete('other')
      expect(await reader.getOrSet('other', () => 'new', { after: await writer.token() })).toBe('new')
      before.resolve('old')
      expect(await joined).toBe('old')
    })

    it('nor is one that began after an older token', async () => {
      const { writer, reader } = await twoProcesses(name)
      await writer.delete('k')
      const [older, started] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()]
      const first = reader.getOrSet('k', () => (started.resolve(), older.promise), { after: await writer.token() })
      await started.promise
      await writer.delete('k')
      const second = reader.getOrSet('k', () => 'newer', { after: await writer.token() })
      older.resolve('old')
      expect(await second).toBe('newer')
      expect(await first).toBe('old')
    })

    it('many who bring it share a load', async () => {
      const { writer, reader } = await twoProcesses(name)
      await writer.delete('k')
      const after = await writer.token()
      const factory = vi.fn<() => Promise<string>>(() => new Promise((resolve) => setTimeout(() => resolve('new'), 5)))
      expect(await Promise.all(Array.from({ length: 20 }, () => reader.getOrSet('k', factory, { after })))).toEqual(Array(20).fill('new'))
      // The first one's began before the others had come.
      expect(factory.mock.calls.length).toBeLessThan(3)
    })

    it('counts in the process that gave it from the beginning', async () => {
      const { writer } = await twoProcesses(name)
      await writer.delete('k')
      await writer.getOrSet('k', () => 'new')
      const { hits } = writer.stats()
      expect(await writer.getOrSet('k', refuse, { after: await writer.token() })).toBe('new')
      expect(writer.stats().hits).toBe(hits + 1)
    })

    it('what is no token, or no longer one, is never an error and never answered from before', async () => {
      const { writer, reader } = await twoProcesses(name)
      await writer.delete('k')
      const token = await writer.token()
      const cut = token.split('').flatMap((_, at) => [token.slice(0, at), token.slice(at + 1)])
      const odd = [
        '',
        ' ',
        'null',
        '1.0.',
        '1..',
        `1.99999999999999999999.${token.slice(-36)}`,
        `2${token.slice(1)}`,
        `${token}0`,
        token.repeat(1_000),
        '\0',
        '\ud800',
      ]
      const foreign = ['1.0.00000000-0000-4000-8000-000000000000', '1.7.toString', 7, null, {}, [7]] as string[]
      for (const after of [...cut, ...odd, ...foreign, [token, 'x'], ['x', token]]) {
        expect([after, await reader.get('k', { after })]).toEqual([after, undefined])
        expect(await reader.getOrSet('other', () => 'new', { after })).toBe('new')
      }
      expect(await reader.get('k')).toBe('old')
    })
  })

for (const name of ['l1 and bus', 'l1 over l2 and bus'] as const)
  it(`${name}: once its message has come all is as usual`, async () => {
    const { writer, reader, held, asked } = await twoProcesses(name)
    await writer.delete('k')
    const after = await writer.token()
    held.letIn()
    expect(await reader.getOrSet('k', () => 'new', { after })).toBe('new')
    asked.mockClear()
    for (const token of [after, [after, after]]) expect(await reader.getOrSet('k', refuse, { after: token })).toBe('new')
    expect(asked).not.toHaveBeenCalled()
  })

it.each(['l1 over l2', 'l1 over l2 and bus'] as const)('%s: the factory is not asked for what l2 holds anew', async (name) => {
  const { writer, reader } = await twoProcesses(name)
  await writer.set('k', 'new')
  expect(await reader.getOrSet('k', refuse, { after: await writer.token() })).toBe('new')
})

it('what is no token has the factory asked, whatever l2 holds', async () => {
  const { writer, reader } = await twoProcesses('l1 over l2 and bus')
  const token = await writer.token()
  for (const after of ['', 'x', `${token}0`, token.slice(1), `1.99999999999999999999.${token.slice(-36)}`, [token, 'x'], ['x', token]])
    expect(await reader.getOrSet<unknown>('k', () => ({ after }), { after })).toEqual({ after })
})

it.each([
  ['l1 and bus', 'source'],
  ['l1 over l2 and bus', 'l2'],
] as const)('%s: while the bus has not taken the invalidation, the token says %s', async (name, nearest) => {
  const channel = new MemoryChannel().bus(60_000)
  let refuses = false
  const bus: InvalidationBus = {
    ...channel,
    open: (options) => {
      const transport = channel.open(options)
      const publish = async (payload: string): Promise<void> => {
        if (refuses) throw new Error('not now')
        await transport.publish(payload)
      }
      return { ...transport, publish }
    },
  }
  const [withL2] = layers[name]
  const cache = cacheWith({ l1: memory({ maxBytes: 1e6 }), bus, ...(withL2 && { l2: memoryStore(new MemoryPlace()) }) })
  await cache.ready()
  refuses = true
  await expect(cache.delete('k')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
  expect((await cache.token()).split('.')[1]).toBe(nearest)
})

it('is not waited for where l2 is known to be away', async () => {
  let attempts = 0
  const { writer } = await twoProcesses('l1 over l2 and bus', {
    l2HardTimeoutMs: 600_000,
    invalidate: () => ({ kind: attempts++ === 0 ? 'fails' : 'lost' }),
  })
  await expect(writer.delete('k')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
  await expect.poll(() => attempts).toBe(2)
  expect(await writer.token()).toContain('source')
})

it('close waits for a read that goes further', async () => {
  let slow = false
  const place = new MemoryPlace()
  const driver = faultyDriver(memoryStore(place), (operation) => ({ replyMs: slow && operation === 'read' ? 20 : 0 }))
  const [reader, writer] = [cacheWith({ l2: driver }), cacheWith({ l2: memoryStore(place) })]
  const after = await writer.token()
  slow = true
  const asked = reader.getOrSet('k', () => 'new', { after })
  await reader.close({ timeoutMs: 5_000 })
  expect(await asked).toBe('new')
})

it('of several tokens the most demanding counts', async () => {
  const { writer, reader, held } = await twoProcesses('l1 over l2 and bus')
  await writer.set('other', 1)
  const first = await writer.token()
  held.letIn()
  held.hold()
  await writer.delete('k')
  const second = await writer.token()
  expect(await reader.getOrSet('k', () => 'new', { after: [second, first] })).toBe('new')
})

it('while l2 has not taken the invalidation, the factory answers', async () => {
  let away = true
  const { writer, reader, held } = await twoProcesses('l1 over l2 and bus', { invalidate: () => (away ? { kind: 'fails' } : {}) })
  await expect(writer.delete('k')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
  const after = await writer.token()
  held.letIn()
  expect(await reader.getOrSet('k', () => 'new', { after })).toBe('new')
  expect(await reader.get('k', { after })).toBeUndefined()
  away = false
  await vi.waitFor(() => expect(writer.stats().pendingInvalidations).toBe(0))
  await reader.delete('k')
  await reader.set('k', 'newer')
  expect(await reader.getOrSet('k', refuse, { after: await writer.token() })).toBe('newer')
})

it('stands for a commit as soon as that has resolved', async () => {
  const intents = { db: { query: async (text: string) => ({ rows: text.includes('regclass') ? [{ found: 'there' }] : [] }) } }
  const { writer, reader } = await twoProcesses('l1 over l2', { intents, invalidate: () => ({ delayMs: 20 }) })
  const hooks: (() => void | Promise<void>)[] = []
  const tx: TransactionLike = { query: async () => undefined, afterCommit: (run) => void hooks.push(run) }
  writer.invalidateAfterCommit(tx, { keys: ['k'] })
  for (const run of hooks) void run()
  expect(await reader.getOrSet('k', () => 'new', { after: await writer.token() })).toBe('new')
})

it('is short, tells no names, and fits into a cookie, a header and a URL', async () => {
  const cache = cacheWith({ l2: memoryStore(new MemoryPlace()) })
  await cache.set('a-secret-key', 1, { tags: ['a-secret-tag'] })
  await cache.deleteByTag('a-secret-tag')
  expect(await cache.token()).toMatch(/^[\w.-]{1,64}$/)
  expect(await cache.token()).not.toContain('secret')
})

it('is waited for as long as one operation of l2 may take', async () => {
  const { writer } = await twoProcesses('l1 over l2 and bus', { l2HardTimeoutMs: 100, invalidate: () => ({ kind: 'lost' }) })
  const work = writer.delete('k').catch(() => undefined)
  expect(await writer.token()).toContain('source')
  await work
})

it('is waited for no longer than its caller wants, and not after close', async () => {
  const { writer } = await twoProcesses('l1 over l2 and bus', { l2HardTimeoutMs: 600_000, invalidate: () => ({ kind: 'lost' }) })
  const work = writer.delete('k').catch(() => undefined)
  const stop = new AbortController()
  const [aborted, cut] = [writer.token({ signal: stop.signal }), writer.token()]
  stop.abort(new Error('enough'))
  await expect(aborted).rejects.toThrow('enough')
  await writer.close({ timeoutMs: 0 })
  expect(await cut).toContain('source')
  await expect(writer.token()).rejects.toMatchObject({ code: 'ERR_CACHE_CLOSED' })
  await work
})
