/**
 * One of several processes over one Redis, started with its settings as JSON. It reads and writes for so long, and prints what it read and what of that
 * was older than it may be. The truth stands in the same Redis, beside the cache: `source` holds the versions, `said` those whose invalidation has ended,
 * `carried` for each key the token of its last writer and the version that it stands for.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { memory } from './drivers/memory.ts'
import { redis, redisBus } from './drivers/redis.ts'
import { createCache, type FactoryEntry } from './index.ts'

export interface ProcessSettings {
  readonly url: string
  readonly index: number
  readonly processes: number
  readonly seconds: number
  readonly bus: boolean
}
export interface ProcessResult {
  readonly reads: number
  readonly writes: number
  readonly served: { hits: number; misses: number; stale: number }
  /** Reads of a key with the token of who wrote it last. */
  readonly withToken: number
  readonly old: readonly string[]
}

const { url, index, processes, seconds, bus } = JSON.parse(process.argv[2] ?? '') as ProcessSettings
const heartbeatMs = 200
const suspectTtlMs = 100
/** With a bus and copies in l1, for so long another process may be behind. */
const boundMs = bus ? 3 * heartbeatMs + suspectTtlMs : 0

const truth = new Redis(url)
truth.defineCommand('say', {
  numberOfKeys: 1,
  lua: "local said = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'); if tonumber(ARGV[2]) > said then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end",
})
const say = truth as unknown as { say(hash: string, key: string, version: number): Promise<void> }
const cache = createCache({
  namespace: 'processes',
  ttlMs: 150,
  staleWhileRevalidateMs: 60_000,
  staleIfErrorMs: 60_000,
  softTimeoutMs: 10,
  errorBackoffMs: 20,
  earlyRefresh: 0.5,
  l2: redis({ url }),
  ...(bus && { l1: memory({ maxBytes: 1e7 }), bus: redisBus({ url, heartbeatMs }), suspectTtlMs }),
})
await cache.ready()

const keys = Array.from({ length: 12 }, (_, key) => `k${key}`)
const pick = <T>(from: readonly T[]): T => from[Math.trunc(Math.random() * from.length)] as T
const until = performance.now() + seconds * 1_000
const old: string[] = []
const heard = new Map(keys.map((key) => [key, [] as { version: number; at: number }[]]))
let [reads, writes, withToken] = [0, 0, 0]

/** The version that a request which begins now must see at least. */
async function least(key: string): Promise<number> {
  const version = Number((await truth.hget('said', key)) ?? 0)
  const history = heard.get(key) as { version: number; at: number }[]
  const now = performance.now()
  history.push({ version, at: now })
  while (history.length > 1 && (history[1] as { at: number }).at <= now - boundMs) history.shift()
  const [oldest] = history
  return oldest && oldest.at <= now - boundMs ? oldest.version : 0
}

async function sourceOf(key: string): Promise<number> {
  const version = Number((await truth.hget('source', key)) ?? 0)
  await pause(Math.random() * 20)
  if (Math.random() < 0.05) throw new Error('the source failed on purpose')
  return version
}

async function load(entry: FactoryEntry, key: string): Promise<number> {
  const version = await sourceOf(key)
  entry.tag(`t:${key}`)
  return version
}

async function read(): Promise<void> {
  while (performance.now() < until) {
    const asked = Math.random() < 0.3 ? [pick(keys), pick(keys), pick(keys)] : [pick(keys)]
    const needed = new Map<string, number>()
    for (const key of asked) needed.set(key, await least(key))
    const got = new Map<string, unknown>()
    const [key] = asked as [string]
    const [version, token] = (Math.random() < 0.5 && (await truth.hget('carried', key))?.split(' ')) || []
    if (token !== undefined) {
      needed.set(key, Math.max(Number(version), needed.get(key) as number))
      withToken++
    }
    const after = token
    const how = asked.length > 1 ? 'batch' : pick(['getOrSet', 'getOrSet', 'get'])
    try {
      if (how === 'get') got.set(key, await cache.get(key, { after }))
      else if (how === 'getOrSet') got.set(key, await cache.getOrSet(key, (entry) => load(entry, key), { after }))
      else {
        const batch = async (missing: readonly string[]) =>
          new Map(await Promise.all(missing.map(async (each): Promise<[string, number]> => [each, await sourceOf(each)])))
        for (const [each, value] of await cache.getOrSetMany(asked, batch, { tags: asked.map((each) => `t:${each}`), after }))
          got.set(each, value)
      }
    } catch {
      // The source failed on purpose.
    }
    for (const [each, value] of got) {
      if (typeof value !== 'number') continue
      reads++
      if (value < (needed.get(each) as number))
        old.push(`${how} of ${each}${after ? ` after ${after}` : ''}: ${value}, not ${needed.get(each)}`)
    }
    await pause(Math.random() * 4)
  }
}

/** Each key has one process that writes it: two writes at once have no order. */
async function write(): Promise<void> {
  const own = keys.filter((_, key) => key % processes === index)
  while (performance.now() < until) {
    const key = pick(own)
    const version = await truth.hincrby('source', key, 1)
    const how = Math.random() < 0.02 ? 'clear' : pick(['delete', 'delete', 'set', 'set', 'tag'] as const)
    const done = {
      delete: () => cache.delete(key),
      tag: () => cache.deleteByTag(`t:${key}`),
      set: () => cache.set(key, version, { tags: [`t:${key}`] }),
      clear: () => cache.clear(),
    }
    await done[how]().then(
      () => say.say('said', key, version),
      () => undefined,
    )
    await truth.hset('carried', key, `${version} ${await cache.token()}`)
    writes++
    await pause(Math.random() * 60)
  }
}

/** A key that is asked for so rarely that it has always grown stale by then: the others are refreshed early. */
async function visit(): Promise<void> {
  while (performance.now() < until) {
    await cache.getOrSet(`rare-${index}`, (entry) => load(entry, 'rare')).catch(() => undefined)
    await pause(200)
  }
}

await Promise.all([write(), visit(), ...Array.from({ length: 6 }, () => read())])
const { hits, misses, stale } = cache.stats()
await cache.close()
truth.disconnect()
const result: ProcessResult = { reads, writes, served: { hits, misses, stale }, withToken, old }
console.log(JSON.stringify(result))
