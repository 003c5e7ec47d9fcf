import { expect, it, vi } from 'vitest'
import { type BusMessage, formatMessage, parseMessage } from './bus-message.ts'
import { cachesWith, onVirtualTime } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import type { SharedDriver } from './driver.ts'
import type { CopyExplanation, InvalidationBus, SchemaLike } from './index.ts'
import { faultyDriver, MemoryChannel, MemoryPlace, memoryStore } from './testing/index.ts'

const heartbeatMs = 1_000
const cacheWith = cachesWith(() => ({ namespace: 'coherence', l1: memory({ maxBytes: 1e6 }), ttlMs: 600_000, suspectTtlMs: 0 }))
onVirtualTime()

/** A bus in the hands of the test: what is sent arrives when it is delivered, and only then. */
function byHand() {
  const sent: string[] = []
  let receive: (payload: string) => void = () => undefined
  let lose: (cause: unknown) => void = () => undefined
  let takes = true
  const bus: InvalidationBus = {
    name: 'by hand',
    maxPayloadBytes: 8_000,
    heartbeatMs,
    open: ({ onMessage, onLost }) => {
      receive = onMessage
      lose = onLost
      const publish = async (payload: string): Promise<void> => {
        if (!takes && parseMessage(payload)?.kind === 'invalidation') throw new Error('not now')
        sent.push(payload)
      }
      return { publish, close: async () => undefined }
    },
  }
  const heartbeats = (): string[] => sent.filter((payload) => parseMessage(payload)?.kind === 'heartbeat')
  return {
    bus,
    sent,
    lose: () => lose('cut'),
    refuse: (refuses: boolean) => (takes = !refuses),
    lastBeat: () => heartbeats().at(-1) as string,
    deliver: (payload: string) => receive(payload),
    fromPeer: (message: Partial<BusMessage>) =>
      receive(formatMessage({ kind: 'invalidation', publisher: 'peer', sequence: 0, beat: 0, keys: [], tags: [], all: false, ...message })),
  }
}
const soon = () => vi.advanceTimersByTimeAsync(0)

it('an echo of what was sent before the connection was lost confirms nothing; the next one does', async () => {
  const { bus, lose, lastBeat, deliver } = byHand()
  const cache = cacheWith({ bus })
  await soon()
  const before = lastBeat()
  lose()
  await soon()
  deliver(before)
  expect(cache.stats().coherence).toBe('suspect')
  deliver(lastBeat())
  expect(cache.stats().coherence).toBe('coherent')
})

it('what was stored while the bus was not confirmed may have missed a message, and goes when it is', async () => {
  const { bus, lastBeat, deliver } = byHand()
  const cache = cacheWith({ bus, suspectTtlMs: 60_000 })
  await soon()
  await cache.set('k', 1)
  expect(await cache.get('k')).toBe(1)
  deliver(lastBeat())
  expect(cache.stats().coherence).toBe('coherent')
  expect(await cache.get('k')).toBeUndefined()
})

it('a bus that cannot send yet when its subscription stands is tried again soon, however rare its heartbeats are', async () => {
  const bus = new MemoryChannel().bus(600_000)
  let connected = false
  const open: InvalidationBus['open'] = (options) => {
    const transport = bus.open(options)
    return { ...transport, publish: (payload) => (connected ? transport.publish(payload) : Promise.reject(new Error('not connected'))) }
  }
  const cache = cacheWith({ bus: { ...bus, open } })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(cache.stats().coherence).toBe('suspect')
  connected = true
  await vi.advanceTimersByTimeAsync(1_000)
  expect(cache.stats().coherence).toBe('coherent')
})

it.each<[string, (bus: ReturnType<typeof byHand>) => void]>([
  ['a message is missing', ({ fromPeer }) => [1, 3].forEach((sequence) => fromPeer({ sequence, keys: ['other'] }))],
  ['the subscription is lost', ({ lose }) => lose()],
])('who waits for a load elsewhere asks again when %s: its end may have been told', async (_what, miss) => {
  const place = new MemoryPlace()
  const patient = { l2HardTimeoutMs: 5_000, leaseMs: 10_000_000, leaseWaitMs: 10_000_000 }
  const byHandBus = byHand()
  const [a, b] = [cacheWith({ l2: memoryStore(place), ...patient }), cacheWith({ l2: memoryStore(place), bus: byHandBus.bus, ...patient })]
  await soon()
  byHandBus.deliver(byHandBus.lastBeat())
  const source = Promise.withResolvers<string>()
  const loading = a.getOrSet('k', () => source.promise)
  await soon()
  let got: unknown
  void b.getOrSet('k', () => 'loaded here').then((value) => (got = value))
  // Longer than the one time that he asks by himself.
  await vi.advanceTimersByTimeAsync(2_000)
  byHandBus.deliver(byHandBus.lastBeat())
  source.resolve('loaded')
  await loading
  await soon()
  expect(got).toBeUndefined()
  miss(byHandBus)
  await soon()
  expect(got).toBe('loaded')
})

it('copies are vouched for from the sending of a heartbeat, not from its echo', async () => {
  const { bus, lastBeat, deliver } = byHand()
  const cache = cacheWith({ bus })
  await soon()
  const first = lastBeat()
  await vi.advanceTimersByTimeAsync(2 * heartbeatMs)
  deliver(first)
  await cache.set('k', 1)
  expect(cache.stats().coherence).toBe('coherent')
  await vi.advanceTimersByTimeAsync(heartbeatMs)
  expect(await cache.getOrSet('k', () => 2)).toBe(2)
  expect(cache.stats().coherence).toBe('suspect')
  const late = lastBeat()
  await vi.advanceTimersByTimeAsync(3 * heartbeatMs)
  deliver(late)
  expect(cache.stats().coherence).toBe('suspect')
})

it('the last message of a peer, though nothing follows it, is missed by what its heartbeats tell', async () => {
  const { bus, lastBeat, deliver, fromPeer } = byHand()
  const cache = cacheWith({ bus })
  await soon()
  deliver(lastBeat())
  fromPeer({ kind: 'heartbeat', sequence: 0, beat: 1 })
  await cache.set('k', 1)
  fromPeer({ kind: 'heartbeat', sequence: 0, beat: 2 })
  expect(await cache.get('k')).toBe(1)
  fromPeer({ kind: 'heartbeat', sequence: 1, beat: 3 })
  expect(await cache.get('k')).toBeUndefined()
})

it('a heartbeat that tells less than has been received takes nothing back', async () => {
  const { bus, lastBeat, deliver, fromPeer } = byHand()
  const cache = cacheWith({ bus })
  await soon()
  deliver(lastBeat())
  await cache.set('k', 1)
  fromPeer({ sequence: 1, keys: ['other'] })
  fromPeer({ kind: 'heartbeat', sequence: 0, beat: 1 })
  fromPeer({ sequence: 2, keys: ['other'] })
  expect(await cache.get('k')).toBe(1)
  fromPeer({ sequence: 4, keys: ['other'] })
  expect(await cache.get('k')).toBeUndefined()
})

it('own heartbeats tell what the bus has taken', async () => {
  const { bus, lastBeat } = byHand()
  const cache = cacheWith({ bus })
  await soon()
  expect(parseMessage(lastBeat())).toMatchObject({ sequence: 0 })
  await cache.delete('a')
  await cache.delete('b')
  await vi.advanceTimersByTimeAsync(heartbeatMs)
  expect(parseMessage(lastBeat())).toMatchObject({ sequence: 2 })
})

it('what waits for the bus is sent as soon as it is confirmed again', async () => {
  const { bus, lose, lastBeat, deliver, refuse } = byHand()
  const cache = cacheWith({ bus })
  await soon()
  deliver(lastBeat())
  refuse(true)
  await expect(cache.delete('k')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
  // By now its pauses are a second and more; the spread of virtual time is none.
  await vi.advanceTimersByTimeAsync(20_300)
  refuse(false)
  lose()
  await soon()
  expect(cache.stats().pendingInvalidations).toBe(1)
  deliver(lastBeat())
  await soon()
  expect(cache.stats().pendingInvalidations).toBe(0)
})

it.each([
  ['delete', (cache: ReturnType<typeof cacheWith>) => cache.delete('k')],
  ['set', (cache: ReturnType<typeof cacheWith>) => cache.set('k', 'new')],
])('a %s that l2 does not take is told by the bus all the same', async (_name, write) => {
  const place = new MemoryPlace()
  const channel = new MemoryChannel()
  let away = false
  const l2 = () => faultyDriver(memoryStore(place), (operation) => ({ kind: away && operation !== 'read' ? 'fails' : 'none' }))
  const [a, b] = [cacheWith({ l2: l2(), bus: channel.bus(heartbeatMs) }), cacheWith({ l2: l2(), bus: channel.bus(heartbeatMs) })]
  await soon()
  await b.set('k', 'old')
  away = true
  await expect(write(a)).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
  await soon()
  expect((await b.explain('k')).l1).toEqual({ state: 'absent' })
})

/** Two processes over a store that stands on the server of the bus, the first with what is its own. */
async function onOneServer(own: (place: MemoryPlace, channel: MemoryChannel) => { l2?: SharedDriver; bus?: InvalidationBus }) {
  const [place, channel] = [new MemoryPlace(), new MemoryChannel()]
  const shared = () => ({ l2: memoryStore(place, channel), bus: channel.bus(heartbeatMs), suspectTtlMs: 1_000 })
  const [a, b] = [cacheWith({ ...shared(), ...own(place, channel) }), cacheWith(shared())]
  await soon()
  const keys = ['deleted', 'tagged', 'set', 'stays']
  for (const key of keys) await b.set(key, 'old', { tags: [key] })
  const write = async (): Promise<void> => {
    await Promise.all([a.delete('deleted'), a.deleteByTag('tagged'), a.set('set', 'new')])
    await soon()
  }
  const stillFresh = async (): Promise<string[]> => {
    const fresh: string[] = []
    for (const key of keys) if (((await b.explain(key)).l1 as CopyExplanation).state === 'fresh') fresh.push(key)
    return fresh
  }
  return { a, b, write, stillFresh }
}

it('a store on the server of the bus sends all messages: by the bus itself there go none', async () => {
  const { a, write, stillFresh } = await onOneServer((_place, channel) => {
    const bus = channel.bus(heartbeatMs)
    return { bus: { ...bus, open: (options) => ({ ...bus.open(options), publish: () => Promise.reject(new Error('by the bus')) }) } }
  })
  expect(a.stats().coherence).toBe('coherent')
  await write()
  expect(await stillFresh()).toEqual(['stays'])
})

it('what such a store takes and does not tell follows as a message of its own', async () => {
  const { write, stillFresh } = await onOneServer((place, channel) => {
    const driver = faultyDriver(memoryStore(place, channel), () => ({}))
    const open: SharedDriver['open'] = (options) => {
      const store = driver.open(options)
      return { ...store, write: (value) => store.write(value), invalidate: (what) => store.invalidate(what) }
    }
    return { l2: { ...driver, open } }
  })
  await write()
  expect(await stillFresh()).toEqual(['stays'])
})

it('messages of such a store are numbered as they leave, whichever was asked for first', async () => {
  const { a, stillFresh } = await onOneServer((place, channel) => ({
    l2: faultyDriver(memoryStore(place, channel), (operation) => ({ delayMs: operation === 'write' ? 20 : 0 })),
  }))
  const written = a.set('set', 'new')
  await a.delete('deleted')
  await vi.advanceTimersByTimeAsync(20)
  await written
  // Two that had changed places would have emptied l1.
  expect(await stillFresh()).toEqual(['tagged', 'stays'])
})

it.each([
  ['by a message of its own', (place: MemoryPlace) => memoryStore(place)],
  ['by the store, and only once', (place: MemoryPlace, channel: MemoryChannel) => memoryStore(place, channel)],
])('what l2 takes at a second attempt is told anew, %s: others may have read the old entry since', async (_how, store) => {
  let away = false
  const heard: string[] = []
  const { a, b, stillFresh } = await onOneServer((place, channel) => {
    channel.bus(heartbeatMs).open({ namespace: '', onLost: () => undefined, onMessage: (payload) => void heard.push(payload) })
    return { l2: faultyDriver(store(place, channel), (operation) => ({ kind: away && operation === 'invalidate' ? 'fails' : 'none' })) }
  })
  const tellings = () => heard.filter((payload) => parseMessage(payload)?.keys.includes('deleted')).length
  const before = tellings()
  away = true
  await expect(a.delete('deleted')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
  await soon()
  expect(await b.getOrSet('deleted', () => 'new')).toBe('old')
  expect(await stillFresh()).toContain('deleted')
  away = false
  await vi.advanceTimersByTimeAsync(200)
  expect(await stillFresh()).not.toContain('deleted')
  expect(tellings() - before).toBe(2)
})

it('an entry that one process cannot read is removed, and leaves the copies of the others alone', async () => {
  const { a, b, stillFresh } = await onOneServer(() => ({}))
  const refuses: SchemaLike = { '~standard': { validate: () => ({ issues: [{ message: 'of another version' }] }) } }
  expect(await a.get('stays', { schema: refuses })).toBeUndefined()
  await soon()
  expect((await b.explain('stays')).l2).toEqual({ state: 'absent' })
  expect(await stillFresh()).toContain('stays')
})

it('a value that l2 did not take, though it let go of the old one, is vouched for by nobody', async () => {
  const l2 = faultyDriver(memoryStore(new MemoryPlace()), (operation) => ({ kind: operation === 'write' ? 'fails' : 'none' }))
  const cache = cacheWith({ l2, bus: new MemoryChannel().bus(heartbeatMs) })
  await soon()
  expect(cache.stats().coherence).toBe('coherent')
  await cache.set('k', 1)
  expect((await cache.explain('k')).l1).toEqual({ state: 'absent' })
})
