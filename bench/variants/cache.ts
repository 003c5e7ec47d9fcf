/** One variant in a process of its own: `node cache.ts <kind>/<library> <redis url>` prints what it measured as JSON. Throws when a result is wrong. */
import { cachified, type CacheEntry } from '@epic-web/cachified'
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { redis } from '@platform/cache/redis'
import { createCache as createDedupe } from 'async-cache-dedupe'
import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisDriver } from 'bentocache/drivers/redis'
import { createCache as createManager } from 'cache-manager'
import { Cacheable } from 'cacheable'
import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'

type Load = (key: string) => Promise<unknown>
interface Subject {
  get(key: string, load: Load, tags?: string[]): Promise<unknown>
  delete(key: string): Promise<unknown>
  deleteByTag?(tag: string): Promise<unknown>
}

const HOUR_MS = 3_600_000
const warmUp = 10_000
const [name = '', url = '', quick = ''] = process.argv.slice(2)
const [kind = '', library = ''] = name.split('/')
const client = url === '' ? undefined : new Redis(url)

const cachifiedOver = (store: {
  get(key: string): unknown
  set(key: string, value: CacheEntry<unknown>): unknown
  delete(key: string): unknown
}): Subject => ({
  get: (key, load) => cachified({ key, cache: { name: 'bench', ...store } as never, ttl: HOUR_MS, getFreshValue: () => load(key) }),
  delete: async (key) => store.delete(key),
})

const inMemory: Record<string, () => Subject> = {
  ours: () => {
    const cache = createCache({ namespace: 'bench', l1: memory({ maxBytes: 1e8 }), ttlMs: HOUR_MS })
    return { get: (key, load) => cache.getOrSet(key, () => load(key)), delete: (key) => cache.delete(key) }
  },
  bentocache: () => {
    const cache = new BentoCache({
      default: 'm',
      stores: { m: bentostore().useL1Layer(memoryDriver({ maxItems: 100_000, serialize: false })) },
    })
    return { get: (key, load) => cache.getOrSet({ key, ttl: HOUR_MS, factory: () => load(key) }), delete: (key) => cache.delete({ key }) }
  },
  cacheable: () => {
    const cache = new Cacheable({ ttl: HOUR_MS })
    return { get: (key, load) => cache.getOrSet(key, () => load(key)), delete: (key) => cache.delete(key) }
  },
  'cache-manager': () => {
    const cache = createManager({ ttl: HOUR_MS })
    return { get: (key, load) => cache.wrap(key, () => load(key)), delete: (key) => cache.del(key) }
  },
  cachified: () => {
    const store = new LRUCache<string, CacheEntry<unknown>>({ max: 100_000, ttl: HOUR_MS })
    return cachifiedOver({ get: (key) => store.get(key), set: (key, value) => store.set(key, value), delete: (key) => store.delete(key) })
  },
  'async-cache-dedupe': () => dedupe({ type: 'memory', options: { size: 100_000 } }),
  'lru-cache.fetch': () => {
    const cache = new LRUCache<string, object, Load>({
      max: 100_000,
      ttl: HOUR_MS,
      fetchMethod: async (key, _stale, { context: load }) => (await load(key)) as object,
    })
    return { get: (key, load) => cache.fetch(key, { context: load }), delete: async (key) => cache.delete(key) }
  },
}

/** A call carries its load and its tags itself, so that two calls of one key do not share them. */
function dedupe(storage: object): Subject {
  interface Call {
    key: string
    load: Load
    tags: string[]
  }
  const cache = createDedupe({ ttl: 3_600, storage: storage as never }).define(
    'load',
    { serialize: ({ key }: Call) => key, references: ({ tags }: Call) => tags } as never,
    (({ key, load }: Call) => load(key)) as never,
  ) as unknown as {
    load(call: Call): Promise<unknown>
    clear(name: string, call: Pick<Call, 'key'>): Promise<void>
    invalidateAll(tags: string[]): Promise<void>
  }
  return {
    get: (key, load, tags = []) => cache.load({ key, load, tags }),
    delete: (key) => cache.clear('load', { key }),
    deleteByTag: (tag) => cache.invalidateAll([tag]),
  }
}

const inRedis: Record<string, (of: Redis) => Subject> = {
  raw: (of) => ({
    get: async (key, load) => {
      const found = await of.get(key)
      if (found !== null) return JSON.parse(found) as unknown
      const value = await load(key)
      await of.set(key, JSON.stringify(value), 'PX', HOUR_MS)
      return value
    },
    delete: (key) => of.del(key),
  }),
  ours: (of) => {
    const cache = createCache({
      namespace: 'bench',
      l2: redis({ client: of }),
      ttlMs: HOUR_MS,
      l2HardTimeoutMs: 60_000,
      l2SoftTimeoutMs: 50_000,
    })
    return {
      get: (key, load, tags) => cache.getOrSet(key, () => load(key), tags && { tags }),
      delete: (key) => cache.delete(key),
      deleteByTag: (tag) => cache.deleteByTag(tag),
    }
  },
  bentocache: (of) => {
    const cache = new BentoCache({ default: 'm', stores: { m: bentostore().useL2Layer(redisDriver({ connection: of as never })) } })
    return {
      get: (key, load, tags = []) => cache.getOrSet({ key, ttl: HOUR_MS, factory: () => load(key), tags }),
      delete: (key) => cache.delete({ key }),
      deleteByTag: (tag) => cache.deleteByTag({ tags: [tag] }),
    }
  },
  cachified: (of) =>
    cachifiedOver({
      get: async (key) => {
        const found = await of.get(key)
        return found === null ? undefined : (JSON.parse(found) as unknown)
      },
      set: (key, value) => of.set(key, JSON.stringify(value), 'PX', HOUR_MS),
      delete: (key) => of.del(key),
    }),
  'async-cache-dedupe': (of) => dedupe({ type: 'redis', options: { client: of, invalidation: { referencesTTL: 3_600 } } }),
}

const subjectOf = (): Subject => {
  const subject = client ? inRedis[library]?.(client) : inMemory[library]?.()
  if (!subject) throw new Error(`no such library: ${library}`)
  return subject
}
const valueOf = (bytes: number) => ({ id: 1, title: 'Metropolis', text: 'x'.repeat(bytes - 60), tags: ['a', 'b'] })
const notAsked: Load = async () => {
  throw new Error('a hit was expected')
}

/** Microseconds a call, the best of many short stretches: what the machine does beside it only adds. */
async function timed(calls: number, call: (index: number) => Promise<unknown>, batch = 1): Promise<number> {
  const stretches = quick ? 10 : 40
  let best = Number.POSITIVE_INFINITY
  for (let stretch = 0; stretch < stretches; stretch++) {
    const startedAt = performance.now()
    if (batch === 1) for (let index = 0; index < calls; index++) await call(index)
    else for (let index = 0; index < calls; index += batch) await Promise.all(Array.from({ length: batch }, (_, at) => call(at)))
    best = Math.min(best, (performance.now() - startedAt) / calls)
  }
  return best * 1_000
}

const measure: Record<string, () => Promise<Record<string, number>>> = {
  async l1() {
    const subject = subjectOf()
    for (let index = 0; index < 100; index++) await subject.get(`k${index}`, async () => valueOf(200))
    return { us: await timed(20_000, (index) => subject.get(`k${index % 100}`, notAsked)) }
  },
  async l2() {
    const found: Record<string, number> = {}
    for (const bytes of [200, 20_000]) {
      const subject = subjectOf()
      for (let index = 0; index < 100; index++) await subject.get(`k${bytes}-${index}`, async () => valueOf(bytes))
      const get = (index: number) => subject.get(`k${bytes}-${index % 100}`, notAsked)
      const read = (await get(0)) as { text?: string }
      if (read.text?.length !== bytes - 60) throw new Error(`wrong value: ${JSON.stringify(read).slice(0, 80)}`)
      // As in a process that has served for a while: what is compiled is measured, and the same for all.
      for (let index = 0; index < warmUp; index++) await get(index)
      found[`seq ${bytes}`] = await timed(200, get)
      found[`par ${bytes}`] = await timed(1_000, get, 100)
    }
    return found
  },
  async tag() {
    const subject = subjectOf()
    const members = quick ? 10_000 : 100_000
    for (let from = 0; from < members; from += 1_000)
      await Promise.all(Array.from({ length: 1_000 }, (_, at) => subject.get(`k${from + at}`, async () => 1, ['all'])))
    for (let warm = 0; warm < 20; warm++) await subject.deleteByTag?.(`other ${warm}`)
    const startedAt = performance.now()
    await subject.deleteByTag?.('all')
    const us = (performance.now() - startedAt) * 1_000
    if ((await subject.get('k1', async () => 2, ['all'])) !== 2) throw new Error('the tag was not deleted')
    return { us, members }
  },
  async heap() {
    const used = () => {
      globalThis.gc!()
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    const subject = subjectOf()
    const entries = quick ? 10_000 : 50_000
    const before = used()
    for (let index = 0; index < entries; index++)
      await subject.get(`k${index}`, async () => ({ ...valueOf(200), text: `${index}`.padEnd(140, 'x') }))
    const heap = (used() - before) / entries
    // All are there, and nothing was collected before.
    for (const index of [0, entries - 1]) await subject.get(`k${index}`, notAsked)
    return { heap }
  },
  async bytes() {
    const used = async () => Number(/used_memory:(\d+)/.exec((await client?.info('memory')) ?? '')?.[1])
    const subject = subjectOf()
    const entries = 10_000
    const before = await used()
    for (let from = 0; from < entries; from += 500)
      await Promise.all(
        Array.from({ length: 500 }, (_, at) => subject.get(`k${from + at}`, async () => valueOf(200), [`tag:${(from + at) % 100}`])),
      )
    return { bytes: ((await used()) - before) / entries }
  },
  /** A deletion that resolves while the old value is being loaded: who asks after it, while that load runs or when it has ended, must not get the old one. */
  async stale() {
    const subject = subjectOf()
    const reads = quick ? 200 : 1_000
    let [stale, empty] = [0, 0]
    for (let round = 0; round < reads; round++) {
      const key = `k${round}`
      const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      let source = 0
      const load: Load = async () => {
        const read = { version: source }
        reached.resolve()
        await released.promise
        return read
      }
      const before = subject.get(key, load)
      await reached.promise
      source = 1
      await subject.delete(key)
      const during = round % 2 === 0 ? subject.get(key, load) : undefined
      released.resolve()
      // lru-cache rejects who asked before.
      await before.catch(() => undefined)
      const read = (await (during ?? subject.get(key, load))) as { version: number } | undefined
      if (read === undefined) empty++
      else if (read.version < 1) stale++
    }
    return empty === 0 ? { stale, reads } : { stale, empty, reads }
  },
}

// Libraries share names of keys, and not what stands there.
await client?.flushall()
console.log(JSON.stringify(await measure[kind]?.()))
process.exit(0)
