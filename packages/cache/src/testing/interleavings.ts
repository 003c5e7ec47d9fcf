import { createCache } from '../cache.ts'
import type { Cache, FactoryEntry } from '../contract.ts'
import { memory } from '../drivers/memory.ts'
import type { CacheOptions } from '../options.ts'
import { type Fault, faultyDriver, MemoryChannel } from './faults.ts'
import { MemoryPlace, memoryStore } from './memory-store.ts'
import { randomFrom, VirtualTime } from './virtual-time.ts'

export interface InterleavingOptions {
  /** The same seed gives the same schedules. Default: of the moment; it is part of the result. */
  seed?: number | undefined
  /** How many schedules to try. Default 1000. */
  schedules?: number | undefined
  /** Moves of one schedule. Default 14. */
  moves?: number | undefined
  /** Changes the options that a schedule has chosen for one of its caches, for instance to pin a layer. */
  adjust?: ((options: CacheOptions) => CacheOptions) | undefined
  /** Hears what happens, line by line: for a replay. */
  onEvent?: ((line: string) => void) | undefined
}

export interface Finding {
  /** Give it to `replayInterleaving`. */
  readonly schedule: number
  readonly kind: 'stale' | 'hung'
  readonly what: string
}

export interface InterleavingResult {
  readonly seed: number
  readonly schedules: number
  /** Answers that were checked. */
  readonly reads: number
  /** Answers by what they were, so that a test can see that it tested something. */
  readonly served: { hits: number; stale: number; misses: number; errors: number }
  readonly findings: readonly Finding[]
}

const layers = ['l1', 'l2', 'l1 over l2', 'l1 and bus', 'l1 over l2 and bus'] as const
const suspectTtlMs = 40
const busDelayMs = 10
const heartbeatMs = 500
/** Of a schedule, in virtual time: moves begin in the first part, the rest is for what they wait for. */
const movesForMs = 600
const endAtMs = 60_000

/**
 * Runs caches of one or two processes against each other in virtual time: loads, batches, writes, invalidations by key and tag, clear and close at
 * chosen moments, with stale windows, early refresh, soft and hard timeouts, tags named late, factories that fail, and a store that is slow, fails or
 * loses its answers. Nobody who asks after an invalidation has ended may get what was written before it: at once in the process that
 * invalidated, for who brings its token, and wherever l2 is asked each time, within the declared bound elsewhere. And every promise settles.
 */
export async function runInterleavings(options: InterleavingOptions = {}): Promise<InterleavingResult> {
  const { seed = Math.trunc(Math.random() * 2 ** 31), schedules = 1_000 } = options
  const total = { reads: 0, served: { hits: 0, stale: 0, misses: 0, errors: 0 }, findings: [] as Finding[] }
  for (let index = 0; index < schedules; index++) {
    const one = await replayInterleaving(seed * 1_000_003 + index, options)
    total.reads += one.reads
    total.findings.push(...one.findings)
    for (const kind of ['hits', 'stale', 'misses', 'errors'] as const) total.served[kind] += one.served[kind]
  }
  return { seed, schedules, ...total }
}

/** One schedule again, by its number. */
export async function replayInterleaving(schedule: number, options: InterleavingOptions = {}): Promise<Omit<InterleavingResult, 'seed'>> {
  const random = randomFrom(schedule)
  const time = new VirtualTime()
  time.install(random)
  try {
    const run = new Schedule(schedule, random, time, options)
    await run.run(options.moves ?? 14)
    return { schedules: 1, reads: run.reads, served: run.served, findings: run.findings }
  } finally {
    time.uninstall()
  }
}

interface Announcement {
  readonly process: number
  readonly version: number
  readonly at: number
  /** Not taken by l2 or the bus yet: counts where it was asked for. */
  readonly here: boolean
}

type ReadMove = 'load' | 'batch' | 'get'

/** A token of a process, and what it had said by then. */
interface Carried {
  readonly token: string
  readonly least: ReadonlyMap<string, number>
}

class Schedule {
  readonly findings: Finding[] = []
  reads = 0
  readonly served = { hits: 0, stale: 0, misses: 0, errors: 0 }
  readonly #schedule: number
  readonly #random: () => number
  readonly #time: VirtualTime
  readonly #caches: Cache[]
  readonly #keys = ['a', 'b']
  readonly #source = new Map(this.#keys.map((key) => [key, 1]))
  readonly #said = new Map(this.#keys.map((key): [string, Announcement[]] => [key, []]))
  /** Two writes of one key at once have no order to speak of. */
  readonly #writing = new Set<string>()
  readonly #open = new Set<string>()
  readonly #carried: Carried[] = []
  readonly #tell: (line: string) => void
  /** How long another process may serve what was invalidated. */
  readonly #boundMs: number

  constructor(schedule: number, random: () => number, time: VirtualTime, { adjust = (made) => made, onEvent }: InterleavingOptions) {
    this.#schedule = schedule
    this.#random = random
    this.#time = time
    this.#tell = (line) => onEvent?.(`${time.now.toFixed(2)} ${line}`)
    const layer = this.#pick(layers)
    const [withL1, withL2, withBus] = [layer !== 'l2', layer.includes('l2'), layer.includes('bus')]
    this.#boundMs = withBus ? 3 * heartbeatMs + suspectTtlMs : withL1 && withL2 ? suspectTtlMs : 0
    const place = new MemoryPlace()
    const channel = new MemoryChannel(() => random() * busDelayMs)
    const oneServer = withBus && this.#chance(0.5)
    const lossy = this.#chance(0.3)
    const stale = this.#chance(0.6)
    const make = (): CacheOptions => ({
      namespace: 'schedule',
      ttlMs: this.#pick([5, 50, 60_000]),
      ...(stale && { staleWhileRevalidateMs: this.#pick([0, 60_000]), staleIfErrorMs: 60_000, errorBackoffMs: this.#pick([0, 20]) }),
      ...(stale && this.#chance(0.5) && { softTimeoutMs: this.#pick([1, 20]) }),
      ...(this.#chance(0.3) && { hardTimeoutMs: 50 }),
      ...(this.#chance(0.3) && { earlyRefresh: 0.5 }),
      ...(withL1 && { l1: memory({ maxBytes: 1e6 }) }),
      ...(withL2 && {
        l2: faultyDriver(memoryStore(place, oneServer ? channel : undefined), () => this.#fault(lossy)),
        l2SoftTimeoutMs: 15,
        l2HardTimeoutMs: 40,
      }),
      ...(withL2 && { leaseMs: 100, leaseWaitMs: this.#pick([0, 200]) }),
      ...(withBus && { bus: channel.bus(heartbeatMs) }),
      ...((withL2 || withBus) && { suspectTtlMs }),
    })
    const processes = withL2 || withBus ? 2 : 1
    this.#caches = Array.from({ length: processes }, () => {
      const options = adjust(make())
      this.#tell(`${layer}: ${JSON.stringify(options, (key, value: unknown) => (/^l[12]$|bus/.test(key) ? undefined : value))}`)
      return createCache(options)
    })
  }

  async run(moves: number): Promise<void> {
    for (let move = 0; move < moves; move++) setTimeout(() => this.#move(move), 1 + this.#random() * movesForMs)
    await this.#time.runUntil(() => this.#time.now > movesForMs && this.#open.size === 0, endAtMs)
    for (const what of this.#open) this.findings.push({ schedule: this.#schedule, kind: 'hung', what })
    for (const cache of this.#caches) {
      const { hits, stale, misses, errors } = cache.stats()
      this.served.hits += hits
      this.served.stale += stale
      this.served.misses += misses
      this.served.errors += errors
    }
    let closed = 0
    for (const cache of this.#caches) void cache.close({ timeoutMs: 0 }).then(() => closed++)
    await this.#time.runUntil(() => closed === this.#caches.length, this.#time.now + endAtMs)
    if (closed < this.#caches.length) this.findings.push({ schedule: this.#schedule, kind: 'hung', what: 'close' })
  }

  #move(number: number): void {
    const process = Math.trunc(this.#random() * this.#caches.length)
    const cache = this.#caches[process] as Cache
    const key = this.#pick(this.#keys)
    const move = this.#pick(['load', 'load', 'load', 'load', 'batch', 'get', 'write', 'write', 'write', 'close'] as const)
    if (move === 'close' && !this.#chance(0.1)) return
    const done = `${move} ${number} of process ${process}`
    this.#tell(`${done}: ${key}`)
    const work =
      move === 'write'
        ? this.#write(process, cache, key)
        : move === 'close'
          ? cache.close({ timeoutMs: 20 })
          : this.#read(process, cache, key, move)
    this.#hold(done, work)
  }

  /** It has to end. */
  #hold(what: string, work: Promise<void>): void {
    this.#open.add(what)
    void work.catch(() => undefined).finally(() => this.#open.delete(what))
  }

  async #read(process: number, cache: Cache, key: string, move: ReadMove, given?: Carried): Promise<void> {
    const carried = given ?? (this.#chance(0.2) ? this.#pick(this.#carried) : undefined)
    const after = carried?.token
    if (carried) this.#tell(`${move} of process ${process} after ${told(carried)}`)
    const least = new Map(this.#keys.map((each) => [each, Math.max(this.#least(process, each), carried?.least.get(each) ?? 0)]))
    const check = (each: string, got: unknown): void => {
      if (typeof got !== 'number') return
      this.reads++
      this.#tell(`${move} of ${each} in process ${process} got ${got}`)
      const needed = least.get(each) as number
      if (got < needed)
        this.findings.push({
          schedule: this.#schedule,
          kind: 'stale',
          what: `${move} of ${each} in process ${process}: ${got}, not ${needed}`,
        })
    }
    if (move === 'get') return check(key, await cache.get(key, { after }))
    if (move === 'load') return check(key, await cache.getOrSet(key, this.#factory(key), { after }))
    const values = await cache.getOrSetMany(
      this.#keys,
      async (missing) => {
        const read = new Map(missing.map((each) => [each, this.#source.get(each) as number]))
        await this.#wait(60)
        if (this.#chance(0.1)) throw new Error('the source failed on purpose')
        return read
      },
      { tags: ['all', ...this.#keys], after },
    )
    for (const [each, got] of values) check(each, got)
  }

  #factory(key: string): (entry: FactoryEntry) => Promise<number> {
    const late = this.#chance(0.5)
    return async (entry) => {
      const tag = (): void => entry.tag(key, 'all')
      if (!late) tag()
      const read = this.#source.get(key) as number
      this.#tell(`factory of ${key} reads ${read}${late ? ', tags late' : ''}`)
      await this.#wait(60)
      if (late) tag()
      if (this.#chance(0.1)) throw new Error('the source failed on purpose')
      if (this.#chance(0.1)) entry.skip()
      return read
    }
  }

  async #write(process: number, cache: Cache, key: string): Promise<void> {
    const how = this.#pick(['delete', 'deleteMany', 'deleteByTag', 'set', 'clear', 'all'] as const)
    const keys = how === 'clear' || how === 'deleteMany' || how === 'all' ? this.#keys : [key]
    if (keys.some((each) => this.#writing.has(each))) return
    for (const each of keys) {
      this.#writing.add(each)
      this.#source.set(each, (this.#source.get(each) as number) + 1)
    }
    this.#tell(`process ${process} begins ${how} of ${keys.join()} at ${[...this.#source.values()].join()}`)
    const written = new Map(keys.map((each) => [each, this.#source.get(each) as number]))
    const work = {
      delete: () => cache.delete(key),
      deleteMany: () => cache.deleteMany(keys),
      deleteByTag: () => cache.deleteByTag(key),
      set: () => cache.set(key, written.get(key), { tags: [key, 'all'] }),
      clear: () => cache.clear(),
      all: () => cache.deleteByTag('all'),
    }
    let here = false
    const early = this.#chance(0.3)
    try {
      const done = work[how]()
      if (early) this.#hold(`${how} carried from process ${process} at ${this.#time.now}`, this.#carry(process, cache, written))
      await done
    } catch (error) {
      // Done here and queued: the others hear of it later.
      if ((error as { code?: string }).code !== 'ERR_CACHE_INVALIDATION_PENDING') return
      here = true
    } finally {
      for (const each of keys) this.#writing.delete(each)
    }
    this.#tell(`process ${process} ended ${how} of ${keys.join()}${here ? ', pending' : ''}`)
    for (const [each, version] of written) this.#said.get(each)?.push({ process, version, at: this.#time.now, here })
    if (!early) await this.#carry(process, cache, written)
  }

  /** Whoever writes takes a token along, often to another process. It stands for what was begun before it was asked for. */
  async #carry(process: number, cache: Cache, written: ReadonlyMap<string, number>): Promise<void> {
    const own = (each: string): number[] =>
      (this.#said.get(each) as Announcement[]).filter((one) => one.process === process).map((one) => one.version)
    const least = new Map(this.#keys.map((each) => [each, Math.max(written.get(each) ?? 0, ...own(each))]))
    const carried = { token: await cache.token(), least }
    this.#tell(`process ${process} gives ${told(carried)}`)
    this.#carried.push(carried)
    await this.#wait(20)
    const next = Math.trunc(this.#random() * this.#caches.length)
    await this.#read(next, this.#caches[next] as Cache, this.#pick(this.#keys), this.#pick(['load', 'batch', 'get'] as const), carried)
  }

  /** What a request of this process that begins now has to see at least. */
  #least(process: number, key: string): number {
    const counts = (one: Announcement): boolean => one.process === process || (!one.here && one.at + this.#boundMs <= this.#time.now)
    return Math.max(0, ...(this.#said.get(key) as Announcement[]).filter(counts).map(({ version }) => version))
  }

  #fault(lossy: boolean): Fault {
    const delays = { delayMs: this.#random() * 8, replyMs: this.#random() * 8 }
    if (!lossy || !this.#chance(0.15)) return delays
    this.#tell('a fault')
    return { ...delays, kind: this.#pick(['fails', 'lost', 'none'] as const), replyMs: this.#random() * 60 }
  }

  #wait(most: number): Promise<void> {
    return new Promise((resolve) => {
      setTimeout(resolve, this.#random() * most)
    })
  }

  #chance(share: number): boolean {
    return this.#random() < share
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.trunc(this.#random() * from.length)] as T
  }
}

/** Without the name of the process, which is another one each time. */
function told({ token, least }: Carried): string {
  return `${token.split('.')[1]} for ${[...least.values()].join()}`
}
