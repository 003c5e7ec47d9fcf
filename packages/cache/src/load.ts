import { randomUUID } from 'node:crypto'
import { backgroundInterval, guarded, orAborted, pause } from '@platform/kernel'
import { decode, encode, fits, type SchemaLike } from './codec.ts'
import type { SharedRead } from './driver.ts'
import { CacheError, type CacheErrorCode } from './errors.ts'
import type { FactoryRun } from './factory-run.ts'
import type { Generations } from './generations.ts'
import { earlyMs, type Lifetimes, retainMs, spreadMs } from './lifetimes.ts'
import type { LocalLayer, LocalWrite } from './local-layer.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { limited, type SharedLayer } from './shared-layer.ts'
import type { Answer, Flight } from './single-flight.ts'
import { endWithStale, serveStale, type StandIn, usableUntil } from './stand-in.ts'
import type { Turns } from './turns.ts'

/** What a call wants of a load. */
export interface Ask {
  readonly lifetimes: Lifetimes
  readonly tags: readonly string[]
  readonly schema: SchemaLike | undefined
  readonly signal: AbortSignal | undefined
  /** When its caller came (`performance.now()`): his patience counts from there. */
  readonly since: number
}

/** What the factory made of one key. */
export type Made = { readonly value: unknown; readonly ttlMs: number; readonly skip: boolean } | Error

/** Runs the user's factory for the keys that are missing. */
export type Run = (missing: readonly Flight[], signal: AbortSignal) => Promise<(flight: Flight) => Made>

/** One key on its way. */
export interface Item {
  readonly flight: Flight
  standIn: StandIn | undefined
  /** The right to fill l2: where its log stood when it was given. */
  lease: { readonly position: string } | undefined
}

export interface LoadParts {
  readonly options: ResolvedCacheOptions
  readonly local: LocalLayer
  readonly generations: Generations
  readonly shared: SharedLayer | undefined
  readonly turns: Turns
  readonly measure: <T>(run: () => Promise<T>) => Promise<T>
  readonly onFault: (fault: string, err?: unknown) => void
}

/** Keys of one round trip to l2, each with a time limit of its own. */
const sliceSize = 500
const firstWaitMs = 20
const maxWaitMs = 200
/** So many leases long nobody else may load; then whoever asks takes over, and the load goes on without the right to fill. */
const leasesUntilYield = 4

/** The way of a load: l2, what may stand in, the factory, both layers. The same for one key and for many. */
export class Loader {
  readonly #parts: LoadParts
  readonly #active = new Map<FactoryRun, Promise<void>>()
  readonly #process = randomUUID()
  #tokens = 0

  constructor(parts: LoadParts) {
    this.#parts = parts
  }

  /** Takes the flights to their end; one that ends without an answer is a fault of ours and still answers. */
  start(of: FactoryRun, items: readonly Item[], ask: Ask, run: Run, onEnd: () => void): void {
    const work = this.#load(of, items, ask, run)
      .catch((error: unknown) => {
        for (const { flight } of items) flight.fail(error)
      })
      .finally(() => {
        of.ended = true
        for (const { flight } of items) {
          flight.fail(new Error('a load ended without an answer'))
          this.#parts.generations.end(flight.pending)
        }
        this.#active.delete(of)
        onEnd()
      })
    this.#active.set(of, work)
  }

  /** Waits for all loads, then cuts them. */
  async close(timeoutMs: number, error: CacheError): Promise<void> {
    const all = Promise.allSettled(this.#active.values())
    await limited(all, timeoutMs).catch(() => undefined)
    for (const of of this.#active.keys()) of.abort(error)
    await all
  }

  async #load(of: FactoryRun, items: readonly Item[], ask: Ask, run: Run): Promise<void> {
    const { shared, generations, turns } = this.#parts
    const { softMs, hardMs } = ask.lifetimes
    const timers: NodeJS.Timeout[] = []
    const serve = (until: (standIn: StandIn) => number): void => {
      for (const { flight, standIn } of items) if (standIn) serveStale(generations, flight, standIn, until(standIn))
    }
    const patientMs = softMs === undefined ? Number.POSITIVE_INFINITY : ask.since + softMs - performance.now()
    const softAt = performance.now() + patientMs
    if (softMs !== undefined) timers.push(setTimeout(serve, Math.max(0, patientMs), usableUntil))
    const hold = shared && this.#hold(shared, items)
    let missing = items
    try {
      if (shared && hold) {
        missing = await this.#consult(shared, of, items, ask, hold)
        if (missing.length === 0) return
        hold.keep()
      }
      serve((standIn) => standIn.revalidateUntil)
      if (performance.now() >= softAt) serve(usableUntil)
      if (hardMs !== undefined) timers.push(setTimeout(() => of.abort(this.#error('ERR_CACHE_FACTORY_TIMEOUT')), hardMs))
      const begun = { turn: shared ? turns.now : Number.POSITIVE_INFINITY, at: performance.now() }
      const flights = missing.map(({ flight }) => flight)
      const made = await this.#parts.measure(() =>
        orAborted(
          of.enter(() => run(flights, of.signal)),
          of.signal,
        ),
      )
      for (let from = 0; from < missing.length; from += sliceSize)
        await Promise.all(missing.slice(from, from + sliceSize).map((item) => this.#finish(item, made(item.flight), ask, hold, begun)))
    } catch (error) {
      hold?.release(missing)
      missing.forEach((item, index) => this.#failed(item, error, index === 0))
    } finally {
      for (const timer of timers) clearTimeout(timer)
      hold?.end()
    }
  }

  /** Asks l2 slice by slice; what it has is answered from there. Returns the rest. */
  async #consult(shared: SharedLayer, of: FactoryRun, items: readonly Item[], ask: Ask, hold: Hold): Promise<readonly Item[]> {
    if (items.length === 1) return (await this.#consultOrWait(shared, of, items[0] as Item, ask, hold)) === 'done' ? [] : items
    // A batch may take longer to ask than a lease lasts.
    hold.keep()
    const missing: Item[] = []
    for (let from = 0; from < items.length; from += sliceSize) {
      of.throwIfAborted()
      const slice = items.slice(from, from + sliceSize)
      const said = await this.#askFor(shared, slice, ask, hold.token)
      slice.forEach((item, index) => {
        if (said[index] !== 'done') missing.push(item)
      })
    }
    return missing
  }

  /** One key: waits for another process that loads it, within bounds. */
  async #consultOrWait(shared: SharedLayer, of: FactoryRun, item: Item, ask: Ask, hold: Hold): Promise<Said> {
    const { leaseWaitMs } = this.#parts.options
    const { flight } = item
    const until = performance.now() + leaseWaitMs
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(maxWaitMs, waitMs * 2)) {
      of.throwIfAborted()
      const [said = 'missing'] = await this.#askFor(shared, [item], ask, hold.token)
      if (said !== 'taken') return said
      if (item.standIn && performance.now() < item.standIn.revalidateUntil) endWithStale(flight, item.standIn)
      // A soft timeout may have answered, too: the other process loads, and nobody waits here.
      if (flight.state.is !== 'loading') return 'done'
      if (performance.now() + waitMs > until) return 'missing'
      await pause(waitMs * (0.5 + Math.random() / 2), of.signal)
    }
  }

  /** One round trip. A key whose invalidation has not reached l2 yet is not asked for. */
  async #askFor(shared: SharedLayer, items: readonly Item[], ask: Ask, token: string): Promise<Said[]> {
    const { turns, options } = this.#parts
    const asked = items.filter(({ flight }) => !shared.delivery.covers(flight.key))
    const reads = new Map<Item, SharedRead>()
    const changing = shared.delivery.view()
    const [turn, at] = [turns.now, performance.now()]
    if (asked.length > 0) {
      const of = { token, leaseMs: options.leaseMs, earlyMs: earlyMs(ask.lifetimes) }
      const lookups = asked.map(({ flight }) => ({ key: flight.key, lease: { ...of, tags: [...flight.tags] } }))
      const waitMs = asked.some(({ standIn }) => standIn) ? options.l2SoftTimeoutMs : options.l2HardTimeoutMs
      try {
        const answer = shared.read(lookups)
        const got =
          waitMs < options.l2HardTimeoutMs ? await limited(answer, waitMs, (late) => shared.giveBack(lookups, late)) : await answer
        asked.forEach((item, index) => reads.set(item, got[index] as SharedRead))
      } catch {
        // Away or slow: loaded without it.
      }
    }
    const said: Said[] = []
    for (const item of items) {
      const read = reads.get(item)
      said.push(read ? await this.#take(item, read, ask, { changing, turn, at }) : 'missing')
    }
    return said
  }

  async #take(item: Item, read: SharedRead, ask: Ask, asked: Asked): Promise<Said> {
    const { flight } = item
    const found = await this.interpret(flight.key, read, ask, asked)
    // What l2 no longer has, l1 must not serve; what it never took (too large) is not its to say.
    if (!item.standIn || item.standIn.shared) item.standIn = found
    if (read.lease === 'held') item.lease = { position: read.position }
    if (!found || read.freshMs <= 0) return read.lease === 'taken' ? 'taken' : 'missing'
    for (const tag of found.tags) flight.tags.add(tag)
    this.#parts.local.put(flight.key, copyOf(flight, found, read.freshMs, ask.lifetimes))
    const answer: Answer = { kind: 'hit', value: found.value, tags: found.tags, turn: asked.turn, until: found.freshUntil }
    if (read.lease !== 'held') {
      flight.settle(answer)
      return 'done'
    }
    flight.answer(answer)
    return 'missing'
  }

  /** What l2 said, as something that can be served; undefined when it has nothing that counts. */
  async interpret(
    key: string,
    read: SharedRead,
    ask: Pick<Ask, 'lifetimes' | 'schema'>,
    { changing, turn, at }: Asked,
  ): Promise<StandIn | undefined> {
    const { shared, local, options, onFault } = this.#parts
    if (read.body === undefined || read.tags.some(changing)) return undefined
    const freshUntil = performance.now() + read.freshMs
    try {
      const value = local.own(decode(options.serializer, read.body))
      if (ask.schema && !(await fits(ask.schema, value))) throw new TypeError('the entry does not fit the schema')
      const { errorMs, revalidateMs } = ask.lifetimes
      const until = { freshUntil, revalidateUntil: freshUntil + revalidateMs, errorUntil: freshUntil + errorMs }
      return { value, tags: read.tags, ...until, turn, vouchedAt: at, shared: true }
    } catch (err) {
      onFault('an entry of l2 could not be read and is removed', err)
      shared?.delivery.add({ keys: [key], tags: [], all: false }).catch(() => undefined)
      return undefined
    }
  }

  async #finish(item: Item, made: Made, ask: Ask, hold: Hold | undefined, begun: Begun): Promise<void> {
    try {
      if (made instanceof Error) throw made
      await this.#store(item, made, ask, hold, begun)
    } catch (error) {
      hold?.release([item])
      this.#failed(item, error, true)
    }
  }

  /** Stores where it may and answers the callers; slow storing does not hold them back. */
  async #store(item: Item, made: Exclude<Made, Error>, ask: Ask, hold: Hold | undefined, begun: Begun): Promise<void> {
    const { shared, local, options, turns } = this.#parts
    const { flight, lease } = item
    let answer: Answer = { kind: 'miss', value: made.value, tags: flight.tags, turn: begun.turn, until: Number.POSITIVE_INFINITY }
    let vouchedAt = begun.at
    if (made.skip) {
      hold?.release([item])
      return flight.settle(answer)
    }
    const freshMs = spreadMs(made.ttlMs)
    let confirmed = !shared
    let stored = false
    if (shared && hold) {
      const body = encode(options.serializer, options.namespace, made.value)
      answer = { ...answer, value: decode(options.serializer, body) }
      const tooLong = body.length > options.maxEntryBytes
      if (lease && (tooLong || flight.overtaken)) hold.release([item])
      else if (lease) {
        const timer = setTimeout(() => flight.answer(answer), options.l2SoftTimeoutMs)
        const [sent, at] = [turns.now, performance.now()]
        const write = { key: flight.key, body, freshMs, retainMs: retainMs(freshMs, ask.lifetimes), tags: [...flight.tags] }
        const taken = await shared.fill({ ...write, token: hold.token, position: lease.position }).catch(() => undefined)
        clearTimeout(timer)
        item.lease = undefined
        // Another process has invalidated it meanwhile.
        if (taken === false) return flight.settle(answer)
        stored = taken === true
        // l2 has vouched for it once more when it took it.
        if (stored) {
          answer = { ...answer, turn: sent }
          vouchedAt = at
        }
      }
      confirmed = stored || (tooLong && lease !== undefined)
    }
    answer = { ...answer, value: local.own(answer.value) }
    const copy = { value: answer.value, tags: flight.tags, shared: stored, vouchedAt }
    local.put(flight.key, { ...copyOf(flight, copy, freshMs, ask.lifetimes), confirmed })
    flight.settle(answer)
  }

  /** A stale copy stands in if it may; no new attempt for a while. */
  #failed(item: Item, error: unknown, tell: boolean): void {
    const { flight, standIn } = item
    if (flight.state.is === 'settled') return
    const { options, local, generations } = this.#parts
    const { logger, namespace, errorBackoffMs } = options
    const log = (message: string): void => (tell ? guarded(() => logger?.warn({ err: error, namespace }, message)) : undefined)
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

  #hold(shared: SharedLayer, items: readonly Item[]): Hold {
    const { leaseMs } = this.#parts.options
    const token = `${this.#process}:${++this.#tokens}`
    const keysOf = (some: readonly Item[]): string[] => some.filter(({ lease }) => lease).map(({ flight }) => flight.key)
    let renewing: NodeJS.Timeout | undefined
    return {
      token,
      keep: () => {
        const startedAt = performance.now()
        renewing ??= backgroundInterval(() => {
          const keys = keysOf(items)
          const yielded = performance.now() - startedAt > leasesUntilYield * leaseMs
          for (let from = 0; from < keys.length; from += sliceSize)
            shared.renew(keys.slice(from, from + sliceSize), token, leaseMs, yielded)
        }, leaseMs / 3)
      },
      release: (some) => {
        const keys = keysOf(some)
        for (let from = 0; from < keys.length; from += sliceSize) shared.release(keys.slice(from, from + sliceSize), token)
        for (const item of some) item.lease = undefined
      },
      end: () => clearInterval(renewing),
    }
  }

  #error(code: CacheErrorCode): CacheError {
    return new CacheError(code, undefined, { namespace: this.#parts.options.namespace })
  }
}

/** What l2 said of one key: answered from there, to be loaded, or being loaded by another process. */
type Said = 'done' | 'missing' | 'taken'

/** The moment of a question to l2, and which tags were on their way there. */
export interface Asked {
  readonly changing: (tag: string) => boolean
  readonly turn: number
  readonly at: number
}

/** The moment before the factory read its source. */
type Begun = Pick<Asked, 'turn' | 'at'>

/** The right of one load to fill l2, kept alive while its factory runs. */
interface Hold {
  readonly token: string
  keep(): void
  release(items: readonly Item[]): void
  end(): void
}

function copyOf(
  { pending }: Flight,
  copy: Pick<LocalWrite, 'value' | 'tags' | 'shared' | 'vouchedAt'>,
  freshMs: number,
  lifetimes: Lifetimes,
): LocalWrite {
  const { errorMs, revalidateMs } = lifetimes
  const { value, tags, shared, vouchedAt } = copy
  return { pending, value, tags, shared, vouchedAt, freshMs, errorMs, revalidateMs, earlyMs: earlyMs(lifetimes), confirmed: true }
}

const misuse = new Set<string>(['ERR_CACHE_NOT_SERIALIZABLE', 'ERR_CACHE_OPTION', 'ERR_CACHE_REENTRANT', 'ERR_CACHE_CLOSED'])

/** A fault of the program, which a stale copy would hide. */
function isMisuse(error: unknown): boolean {
  return CacheError.isInstance(error) && misuse.has(error.code)
}
