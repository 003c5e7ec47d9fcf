import { functionOption, orAborted } from '@platform/kernel'
import type { BatchFactory, Factory, LoadOptions } from './contract.ts'
import { Departure, signalOption } from './departure.ts'
import { CacheError, failureOf, wrongOption } from './errors.ts'
import { FactoryRun } from './factory-run.ts'
import type { Freshness, LocalEntry } from './entry.ts'
import type { Glances, Hit } from './glances.ts'
import type { Journal } from './journal.ts'
import type { Layers } from './layers.ts'
import { earlyMs, lifetimesOf } from './lifetimes.ts'
import type { Ask, Item, Loader } from './load.ts'
import { safeName, safeNames } from './names.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { type Run, runOf, runOfBatch } from './run.ts'
import { type Answer, type Arrival, Flight } from './single-flight.ts'
import { schemaOption } from './schema.ts'
import { inSlices } from './slices.ts'
import { standInOf } from './stand-in.ts'
import type { Nearest } from './tokens.ts'

const noTags: readonly string[] = []

/** Where one key is answered from. */
type Place = { readonly answer: Pick<Answer, 'kind' | 'value'> } | { readonly flight: Flight; readonly arrival: Arrival }

/**
 * One request, for one key or many: a copy, a fresh entry of l2, the load that is under way, or a load of its own, until an answer is his to have.
 * Requests that may not be answered from as near as others do not meet those: their loads are their own.
 */
export class Requests {
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers
  readonly #journal: Journal
  readonly #loader: Loader
  readonly #nearest: Nearest
  readonly #flights = new Map<string, Flight>()
  /** Requests that have asked l2 and would begin a load next. */
  #glancing = 0
  #noneGlances: PromiseWithResolvers<void> | undefined

  constructor(options: ResolvedCacheOptions, layers: Layers, journal: Journal, loader: Loader, nearest: Nearest) {
    this.#options = options
    this.#layers = layers
    this.#journal = journal
    this.#loader = loader
    this.#nearest = nearest
  }

  async one<T>(key: string, factory: Factory<T>, options: LoadOptions | undefined): Promise<T> {
    const name = safeName('key', key)
    functionOption(wrongOption, 'factory', factory)
    let ask = this.#ask(options)
    const departure = departureOf(ask)
    try {
      const { glances } = this.#loader
      for (;;) {
        if (glances && this.#mayGlance(name, ask)) {
          this.#glancing++
          try {
            const hit = await orAborted(glances.at(name, ask), ask.signal)
            if (hit && hit.freshMs > earlyMs(ask.lifetimes)) return this.#handOut('hit', hit.value) as T
          } catch (error) {
            ask = afterFailure(ask, error)
          } finally {
            this.#endGlance()
          }
        }
        const batch = new FactoryRun()
        const opened: Item[] = []
        const place = this.#place(name, ask, batch, opened)
        if (opened.length > 0) this.#start(batch, opened, ask, runOf(factory, ask))
        const answer = 'answer' in place ? place.answer : await joined(place, departure)
        if (answer) return this.#handOut(answer.kind, answer.value) as T
      }
    } catch (error) {
      if (ask.signal?.aborted !== true) this.#journal.answered('error')
      throw error
    }
  }

  /** The same path with more keys: one look-up, one call of the factory. */
  async many<T>(keys: readonly string[], factory: BatchFactory<T>, options: LoadOptions | undefined): Promise<Map<string, T | Error>> {
    const names = safeNames('key', keys)
    functionOption(wrongOption, 'factory', factory)
    const keyOf = new Map(names.map((name, index) => [name, keys[index] as string]))
    let ask = this.#ask(options)
    const departure = departureOf(ask)
    const run = runOfBatch(factory, ask, (name) => keyOf.get(name) as string)
    const values = new Map<string, T | Error>()
    const got = (name: string, { kind, value }: Pick<Answer, 'kind' | 'value'>): void => {
      const handedOut = this.#handOut(kind, value) as T | undefined
      if (handedOut !== undefined) values.set(name, handedOut)
    }
    const failed = (name: string, error: unknown): void => {
      if (ask.signal?.aborted) return
      values.set(name, failureOf(error))
      this.#journal.answered('error')
    }
    const left = new Set(names)
    while (left.size > 0) {
      const { glances } = this.#loader
      if (glances) {
        this.#glancing++
        try {
          await this.#glances(glances, left, ask, (name, value) => got(name, { kind: 'hit', value }))
        } catch (error) {
          ask = afterFailure(ask, error)
        } finally {
          this.#endGlance()
        }
      }
      const batch = new FactoryRun()
      const opened: Item[] = []
      const places = [...left].map((name): [string, Place] => [name, this.#place(name, ask, batch, opened)])
      if (opened.length > 0) this.#start(batch, opened, ask, run)
      await Promise.all(
        places.map(async ([name, place]) => {
          try {
            const answer = 'answer' in place ? place.answer : await joined(place, departure)
            if (!answer) return
            got(name, answer)
          } catch (error) {
            failed(name, error)
          }
          left.delete(name)
        }),
      )
    }
    ask.signal?.throwIfAborted()
    return inOrder(keyOf, values)
  }

  #ask(options: LoadOptions | undefined): Ask {
    const lifetimes = lifetimesOf(this.#options.lifetimes, options, 'load')
    return {
      lifetimes,
      tags: options?.tags ? safeNames('tag', options.tags) : noTags,
      schema: schemaOption(options?.schema),
      signal: signalOption(options?.signal),
      since: lifetimes.softMs === undefined ? 0 : performance.now(),
      turn: this.#layers.shared || this.#nearest !== 'l1' ? this.#layers.turns.now : 0,
      consults: this.#nearest !== 'source',
    }
  }

  #copy(key: string): { entry: LocalEntry; state: Freshness } | undefined {
    return this.#nearest === 'l1' ? this.#layers.local.find(key) : undefined
  }

  #handOut(kind: Answer['kind'], value: unknown): unknown {
    const handedOut = this.#layers.local.handOut(value)
    this.#journal.answered(kind)
    return handedOut
  }

  /** Answers what is fresh in l2, slice by slice, and takes it out of what is left. Rejects when l2 answered none. */
  async #glances(glances: Glances, left: Set<string>, ask: Ask, got: (key: string, value: unknown) => void): Promise<void> {
    const keys = [...left].filter((key) => this.#mayGlance(key, ask))
    let failure: { readonly error: unknown } | undefined
    let answered = keys.length === 0
    await inSlices(keys, this.#options.l2HardTimeoutMs, async (slice) => {
      let hits: (Hit | undefined)[]
      try {
        hits = await orAborted(Promise.all(slice.map((key) => glances.at(key, ask))), ask.signal)
      } catch (error) {
        afterFailure(ask, error)
        failure = { error }
        return
      }
      answered = true
      slice.forEach((key, index) => {
        const hit = hits[index]
        if (!hit || hit.freshMs <= earlyMs(ask.lifetimes)) return
        left.delete(key)
        got(key, hit.value)
      })
    })
    if (failure && !answered) throw failure.error
  }

  /** Resolves when no request is on its way to a load. */
  idle(): Promise<void> {
    if (this.#glancing === 0) return Promise.resolve()
    this.#noneGlances ??= Promise.withResolvers()
    return this.#noneGlances.promise
  }

  /** A request that neither a copy nor a load under way can answer asks l2 for himself: a hit needs no lease and no flight. */
  #mayGlance(key: string, { consults }: Ask): boolean {
    if (!consults || this.#copy(key)) return false
    const present = this.#flights.get(key)
    return !present || present.overtaken || present.state.is === 'settled'
  }

  #endGlance(): void {
    if (--this.#glancing > 0) return
    this.#noneGlances?.resolve()
    this.#noneGlances = undefined
  }

  /** What is under way for a key. */
  peek(key: string): Flight | undefined {
    return this.#flights.get(key)
  }

  #place(key: string, ask: Ask, batch: FactoryRun, opened: Item[]): Place {
    const { generations } = this.#layers
    const found = this.#copy(key)
    const now = performance.now()
    const copy = found && (found.state === 'fresh' || found.state === 'stale' || now < found.entry.retryAt)
    const refresh = found && now >= found.entry.refreshAt && now >= found.entry.retryAt
    if (copy && !refresh) return { answer: { kind: found.state === 'fresh' ? 'hit' : 'stale', value: found.entry.value } }
    const arrival = { position: generations.position, turn: ask.turn, at: now }
    const present = this.#flights.get(key)
    let flight = present && !present.overtaken ? present : undefined
    if (flight?.state.is === 'answered' && !copy) {
      const { answer } = flight.state
      if (flight.mayHave(answer, arrival)) return { answer }
      flight = undefined
    }
    if (!flight || flight.state.is === 'settled') {
      flight = new Flight(generations, key, batch, ask.tags)
      batch.flights.push(flight)
      this.#flights.set(key, flight)
      opened.push({ flight, standIn: found && standInOf(found.entry, generations), granted: undefined })
      if (copy) flight.background = true
    }
    if (!copy) return { flight, arrival }
    // One attempt, then none for a while, should it fail.
    if (found.state === 'fresh') found.entry.refreshAt = Math.min(found.entry.freshUntil, now + this.#options.errorBackoffMs)
    return { answer: { kind: found.state === 'fresh' ? 'hit' : 'stale', value: found.entry.value } }
  }

  #start(batch: FactoryRun, opened: readonly Item[], ask: Ask, run: Run): void {
    this.#loader.start(batch, opened, ask, run, () => {
      for (const { flight } of opened) if (this.#flights.get(flight.key) === flight) this.#flights.delete(flight.key)
    })
  }
}

/** The call goes on without l2, unless it was its caller or the cache that left. */
function afterFailure(ask: Ask, error: unknown): Ask {
  ask.signal?.throwIfAborted()
  if (CacheError.isInstance(error) && error.code === 'ERR_CACHE_CLOSED') throw error
  return { ...ask, consults: false }
}

function departureOf({ signal }: Ask): Departure | undefined {
  return signal && new Departure(signal)
}

/** Undefined: the answer is not his; he has to ask again. */
function joined(
  { flight, arrival }: { readonly flight: Flight; readonly arrival: Arrival },
  departure: Departure | undefined,
): Promise<Answer | undefined> {
  return FactoryRun.await(flight.run, () => flight.join(arrival, departure))
}

/** By the callers' keys, in their order. */
function inOrder<T>(keyOf: ReadonlyMap<string, string>, values: ReadonlyMap<string, T>): Map<string, T> {
  const ordered = new Map<string, T>()
  for (const [name, key] of keyOf) if (values.has(name)) ordered.set(key, values.get(name) as T)
  return ordered
}
