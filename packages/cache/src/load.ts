import { randomUUID } from 'node:crypto'
import { orAborted, settlesWithin } from '@platform/kernel'
import { throughSerializer } from './codec.ts'
import { CacheError } from './errors.ts'
import type { FactoryRun } from './factory-run.ts'
import type { Generations } from './generations.ts'
import type { Journal } from './journal.ts'
import type { Layers } from './layers.ts'
import { Glances } from './glances.ts'
import { Lease } from './lease.ts'
import { type Lifetimes, livesOf, retainMs, spreadMs } from './lifetimes.ts'
import { LookUp } from './look-up.ts'
import type { ResolvedCacheOptions } from './options.ts'
import type { Made, Run } from './run.ts'
import type { SchemaLike } from './schema.ts'
import { SharedValues } from './shared-values.ts'
import type { Answer, Flight } from './single-flight.ts'
import { inSlices } from './slices.ts'
import { endWithStale, serveStale, type StandIn, usableUntil } from './stand-in.ts'

/** What a call wants of a load. */
export interface Ask {
  readonly lifetimes: Lifetimes
  readonly tags: readonly string[]
  readonly schema: SchemaLike | undefined
  readonly signal: AbortSignal | undefined
  /** When its caller came (`performance.now()`): his patience counts from there. */
  readonly since: number
  /** What was asked of l2 or a source before this turn is not for him: he may have heard of something since. */
  readonly turn: number
  /** False once l2 has failed this call, which is not made to wait for it again, and where l2 may not have heard what the caller has. */
  readonly consults: boolean
}

/** One key on its way. */
export interface Item {
  readonly flight: Flight
  standIn: StandIn | undefined
  /** The right to fill l2: where its log stood when it was given. */
  granted: { readonly position: string } | undefined
}

/** The moment before the factory read its source. */
interface Begun {
  readonly turn: number
  readonly at: number
}

/** How long close waits for loads that it has cut. */
const cutMs = 100

/** The way of a load: l2, what may stand in, the factory, both layers. The same for one key and for many. */
export class Loader {
  readonly glances: Glances | undefined
  readonly #lookUp: LookUp | undefined
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers
  readonly #journal: Journal
  readonly #measure: <T>(run: () => Promise<T>) => Promise<T>
  readonly #active = new Map<FactoryRun, Promise<void>>()
  readonly #process = randomUUID()
  #tokens = 0
  /** Set when loads have been cut: what would begin now is told the same. */
  #closed: CacheError | undefined

  constructor(options: ResolvedCacheOptions, layers: Layers, journal: Journal, measure: <T>(run: () => Promise<T>) => Promise<T>) {
    this.#options = options
    this.#layers = layers
    this.#journal = journal
    this.#measure = measure
    const { shared, local } = layers
    if (!shared) return
    const values = new SharedValues(shared, options, local, journal)
    this.glances = new Glances(shared, values, layers)
    this.#lookUp = new LookUp(shared, values, options, layers)
  }

  /** Takes the flights to their end; one that ends without an answer is a fault of ours and still answers. */
  start(of: FactoryRun, items: readonly Item[], ask: Ask, run: Run, onEnd: () => void): void {
    const end = (error: unknown): void => {
      of.ended = true
      for (const { flight } of items) {
        if (flight.state.is !== 'settled') flight.fail(error ?? new Error('a load ended without an answer'))
        this.#layers.generations.end(flight.pending)
      }
      this.#active.delete(of)
      onEnd()
    }
    const loading = this.#closed ? Promise.reject(this.#closed) : this.#load(of, items, ask, run)
    const work = loading.then(() => end(undefined), end)
    this.#active.set(of, work)
  }

  /** Waits for all loads, then cuts them: whoever waits for one gets the error at once. */
  async close(timeoutMs: number, error: CacheError): Promise<void> {
    const until = performance.now() + timeoutMs
    const all = (): Promise<unknown> => Promise.all(this.#active.values())
    while (this.#active.size > 0 && (await settlesWithin(all(), until - performance.now())));
    this.#closed = error
    this.glances?.close(error)
    for (const of of this.#active.keys()) of.cut(error)
    await settlesWithin(all(), cutMs)
  }

  async #load(of: FactoryRun, items: readonly Item[], ask: Ask, run: Run): Promise<void> {
    const { shared, generations } = this.#layers
    const lease = shared && new Lease(shared, this.#options.leaseMs, `${this.#process}:${++this.#tokens}`, items)
    const soft = new SoftTimeout(generations, items, ask)
    let missing = items
    try {
      if (lease && ask.consults) missing = await (this.#lookUp as LookUp).consult(of, items, ask, lease)
      if (missing.length > 0) await this.#make(of, missing, ask, run, lease, soft)
    } catch (error) {
      lease?.release(missing)
      missing.forEach((item, index) => this.#failed(item, error, index === 0))
    } finally {
      soft.end()
      lease?.end()
    }
  }

  /** Runs the factory and stores what it made. */
  async #make(of: FactoryRun, missing: readonly Item[], ask: Ask, run: Run, lease: Lease | undefined, soft: SoftTimeout): Promise<void> {
    const { turns } = this.#layers
    const { hardMs } = ask.lifetimes
    lease?.keep()
    soft.serveWhere((standIn) => standIn.revalidateUntil)
    soft.serveIfDue()
    const late = (): void => of.abort(new CacheError('ERR_CACHE_FACTORY_TIMEOUT', undefined, { namespace: this.#options.namespace }))
    const timer = hardMs === undefined ? undefined : setTimeout(late, hardMs)
    try {
      const begun = { turn: turns.end(), at: performance.now() }
      const asked = missing.map((item) => ({ flight: item.flight, previous: this.#previous(item) }))
      const made = await this.#measure(() =>
        orAborted(
          of.enter(() => run(asked, of.signal)),
          of.signal,
        ),
      )
      await inSlices(missing, this.#options.l2HardTimeoutMs, async (slice) => {
        await Promise.all(slice.map((item) => this.#finish(item, made(item.flight), ask, lease, begun)))
      })
    } finally {
      clearTimeout(timer)
    }
  }

  /** What has been invalidated is nothing to go back to. */
  #previous({ flight, standIn }: Item): unknown {
    const { local, generations } = this.#layers
    return standIn && generations.holds(flight.pending, standIn.tags) ? local.handOut(standIn.value) : undefined
  }

  async #finish(item: Item, made: Made, ask: Ask, lease: Lease | undefined, begun: Begun): Promise<void> {
    try {
      if (made instanceof Error) throw made
      await this.#store(item, made, ask, lease, begun)
    } catch (error) {
      lease?.release([item])
      this.#failed(item, error, true)
    }
  }

  /** Stores where it may and answers the callers; slow storing does not hold them back. */
  async #store(item: Item, made: Exclude<Made, Error>, ask: Ask, lease: Lease | undefined, begun: Begun): Promise<void> {
    const options = this.#options
    const { shared, local, turns } = this.#layers
    const { flight, granted } = item
    let answer: Answer = { kind: 'miss', value: made.value, tags: flight.tags, turn: begun.turn, until: Number.POSITIVE_INFINITY }
    let vouchedAt = begun.at
    if (made.skip) {
      lease?.release([item])
      return flight.settle(answer)
    }
    const freshMs = spreadMs(made.ttlMs)
    let confirmed = !shared
    let stored = false
    if (shared && lease) {
      const { body, value } = throughSerializer(options.serializer, options.namespace, made.value)
      answer = { ...answer, value }
      const tooLong = body.length > options.maxEntryBytes
      if (granted && (tooLong || flight.overtaken)) lease.release([item])
      else if (granted) {
        const timer = setTimeout(() => flight.answer(answer), options.l2SoftTimeoutMs)
        const [sent, at] = [turns.end(), performance.now()]
        const write = { key: flight.key, body, freshMs, retainMs: retainMs(freshMs, ask.lifetimes), tags: flight.tags }
        const taken = await shared.fill({ ...write, token: lease.token, position: granted.position }).catch(() => undefined)
        clearTimeout(timer)
        item.granted = undefined
        // Another process has invalidated it meanwhile.
        if (taken === false) return flight.settle(answer)
        stored = taken === true
        // l2 has vouched for it once more when it took it.
        if (stored) {
          answer = { ...answer, turn: sent }
          vouchedAt = at
        }
      }
      confirmed = stored || (tooLong && granted !== undefined)
    }
    answer = { ...answer, value: local.own(answer.value) }
    const copy = { value: answer.value, tags: flight.tags, shared: stored, vouchedAt, confirmed }
    local.put(flight.key, { pending: flight.pending, ...copy, ...livesOf(freshMs, ask.lifetimes) })
    flight.settle(answer)
  }

  /** A stale copy stands in if it may; no new attempt for a while. */
  #failed(item: Item, error: unknown, tell: boolean): void {
    const { flight, standIn } = item
    if (flight.state.is === 'settled') return
    const { local, generations } = this.#layers
    const { errorBackoffMs } = this.#options
    const log = (message: string): void => (tell ? this.#journal.log('warn', message, { err: error }) : undefined)
    const leftMs = standIn ? usableUntil(standIn) - performance.now() : 0
    if (standIn && leftMs > 0 && !isMisuse(error) && generations.holds(flight.pending, standIn.tags)) {
      log('the factory failed; a stale copy stands in')
      const lives = { freshMs: 0, earlyMs: 0, revalidateMs: 0, errorMs: leftMs, retryInMs: errorBackoffMs }
      if (performance.now() >= standIn.freshUntil) local.put(flight.key, { pending: flight.pending, ...standIn, ...lives, confirmed: true })
      return endWithStale(flight, standIn)
    }
    if (flight.state.is === 'answered' || flight.background) log('a refresh in the background failed')
    flight.fail(error)
  }
}

/** Serves what may stand in when its callers have waited for softTimeoutMs. */
class SoftTimeout {
  readonly #generations: Generations
  readonly #items: readonly Item[]
  readonly #at: number
  readonly #timer: NodeJS.Timeout | undefined

  constructor(generations: Generations, items: readonly Item[], { lifetimes: { softMs }, since }: Ask) {
    this.#generations = generations
    this.#items = items
    this.#at = softMs === undefined ? Number.POSITIVE_INFINITY : since + softMs
    if (softMs !== undefined) this.#timer = setTimeout(() => this.serveWhere(usableUntil), Math.max(0, this.#at - performance.now()))
  }

  serveWhere(until: (standIn: StandIn) => number): void {
    for (const { flight, standIn } of this.#items) if (standIn) serveStale(this.#generations, flight, standIn, until(standIn))
  }

  /** The time may have passed before l2 had said what may stand in. */
  serveIfDue(): void {
    if (performance.now() >= this.#at) this.serveWhere(usableUntil)
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

const misuse = new Set<string>(['ERR_CACHE_NOT_SERIALIZABLE', 'ERR_CACHE_OPTION', 'ERR_CACHE_REENTRANT', 'ERR_CACHE_CLOSED'])

/** A fault of the program, which a stale copy would hide. */
function isMisuse(error: unknown): boolean {
  return CacheError.isInstance(error) && misuse.has(error.code)
}
