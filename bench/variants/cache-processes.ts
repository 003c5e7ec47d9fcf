/**
 * Four processes over one Redis: `node cache-processes.ts <kind>/<library> <redis url>` starts them and prints what they saw as JSON.
 * `visible`: how long after a write has begun the others have the new value, to the millisecond. `herd`: what 1,000 callers of one cold key in each of them cost.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { cachified, type CacheEntry } from '@epic-web/cachified'
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { redis, redisBus } from '@platform/cache/redis'
import { createCache as createDedupe } from 'async-cache-dedupe'
import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis'
import { Redis } from 'ioredis'

const HOUR_MS = 3_600_000
const processes = 4
const callers = 1_000
const loadMs = 50
const [name = '', url = '', quick = '', role = 'first'] = process.argv.slice(2)
const [kind = '', library = ''] = name.split('/')
const client = new Redis(url)

interface Subject {
  ready?(): Promise<unknown>
  get(key: string, load: () => Promise<unknown>): Promise<unknown>
  set?(key: string, value: unknown): Promise<unknown>
}

const subjects: Readonly<Record<string, () => Subject>> = {
  ours: () => {
    const cache = createCache({
      namespace: 'bench',
      l1: memory({ maxBytes: 1e7 }),
      l2: redis({ client }),
      bus: redisBus({ client }),
      ttlMs: HOUR_MS,
      l2HardTimeoutMs: 10_000,
    })
    return { ready: () => cache.ready(), get: (key, load) => cache.getOrSet(key, load), set: (key, value) => cache.set(key, value) }
  },
  bentocache: () => {
    const { hostname: host, port, username, password } = new URL(url)
    const store = bentostore()
      .useL1Layer(memoryDriver({ maxItems: 1_000 }))
      .useL2Layer(redisDriver({ connection: client as never }))
      .useBus(redisBusDriver({ connection: { host, port: Number(port), username, password } }))
    const cache = new BentoCache({ default: 'm', stores: { m: store } })
    return {
      // It tells nobody when its bus stands.
      ready: () => pause(1_000),
      get: (key, load) => cache.getOrSet({ key, ttl: HOUR_MS, factory: load }),
      set: (key, value) => cache.set({ key, value, ttl: HOUR_MS }),
    }
  },
  cachified: () => {
    const store = {
      name: 'bench',
      get: async (key: string) => JSON.parse((await client.get(key)) ?? 'null') as CacheEntry | null,
      set: (key: string, value: unknown) => client.set(key, JSON.stringify(value), 'PX', HOUR_MS),
      delete: (key: string) => client.del(key),
    }
    return { get: (key, load) => cachified({ key, cache: store as never, ttl: HOUR_MS, getFreshValue: load }) }
  },
  'async-cache-dedupe': () => {
    let current: () => Promise<unknown> = async () => undefined
    const cache = createDedupe({ ttl: 3_600, storage: { type: 'redis', options: { client } } as never }).define('load', (() =>
      current()) as never) as unknown as { load(key: string): Promise<unknown> }
    return {
      get: (key, load) => {
        current = load
        return cache.load(key)
      },
    }
  },
}

/** Of this machine, the same in every process. */
const now = () => performance.timeOrigin + performance.now()

const subject = subjects[library]!()
await subject.ready?.()

/** A value of another round than the last one is what the first has written since. */
async function watchVisible(rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const key = `visible ${round}`
    await subject.get(key, async () => 'old')
    process.send!('warm')
    await once(process, 'message')
    while ((await subject.get(key, async () => 'lost')) === 'old') await pause(1)
    process.send!(now())
  }
}

async function herd(round: number): Promise<{ longestMs: number }> {
  const load = async () => {
    await client.incr(`loads ${round}`)
    await pause(loadMs)
    return 'loaded'
  }
  const startedAt = now()
  const answers = await Promise.all(Array.from({ length: callers }, () => subject.get(`herd ${round}`, load)))
  if (answers.some((answer) => answer !== 'loaded')) throw new Error('a caller got something else')
  return { longestMs: now() - startedAt }
}

async function other(): Promise<void> {
  process.send!('ready')
  const [order] = (await once(process, 'message')) as [number]
  if (kind === 'visible') await watchVisible(order)
  else
    for (let round = 0; round < order; round++) {
      process.send!('at the start')
      await once(process, 'message')
      process.send!((await herd(round)).longestMs)
    }
  process.disconnect()
}

async function first(): Promise<Record<string, number>> {
  const all = Array.from({ length: processes - 1 }, () => fork(import.meta.filename, [name, url, quick, 'other']))
  const each = (): Promise<unknown[]> => Promise.all(all.map(async (child) => ((await once(child, 'message')) as [unknown])[0]))
  await each()
  const rounds = quick ? 5 : 20
  let said = each()
  for (const child of all) child.send(rounds)
  const tell = (): Promise<unknown[]> => {
    const next = each()
    for (const child of all as ChildProcess[]) child.send('go')
    return next
  }
  const seen: number[] = []
  let loads = 0
  for (let round = 0; round < rounds; round++) {
    await said
    if (kind === 'visible') {
      const told = tell()
      await pause(20)
      const startedAt = now()
      await subject.set!(`visible ${round}`, 'new')
      for (const at of (await told) as number[]) seen.push(at - startedAt)
    } else {
      const told = tell()
      seen.push((await herd(round)).longestMs, ...((await told) as number[]))
      loads += Number(await client.get(`loads ${round}`))
    }
    said = round + 1 < rounds ? each() : Promise.resolve([])
  }
  seen.sort((a, b) => a - b)
  const spread = { median: seen[seen.length >> 1]!, longest: seen.at(-1)! }
  return kind === 'visible' ? spread : { ...spread, loads: loads / rounds }
}

if (role === 'other') await other()
else {
  await client.flushall()
  console.log(JSON.stringify(await first()))
}
process.exit(0)
