import type { BatchFactory, Factory, LoadOptions } from './contract.ts'
import { orAborted } from '@platform/kernel'
import { CacheError } from './errors.ts'
import { FactoryRun } from './factory-run.ts'
import type { Layers } from './layers.ts'
import { earlyMs, lifeOption, lifetimesOf } from './lifetimes.ts'
import type { Ask, Item, Loader, Run } from './load.ts'
import { safeName, safeNames } from './names.ts'
import type { Entry, LookUp } from './look-up.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { sliceSize } from './shared-layer.ts'
import { type Answer, type Arrival, Flight } from './single-flight.ts'
import { standInOf } from './stand-in.ts'

/** Where one key is answered from. */
type Place = { readonly answer: Pick<Answer, 'kind' | 'value'> } | { readonly flight: Flight; readonly arrival: Arrival }

/**
 * One request, for one key or many: a copy, a fresh entry of l2, the load that is under way, or a load of its own, until an answer is his to have.
 */
export class Requests {
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers
  readonly #loader: Loader
  readonly #flights = new Map<string, Flight>()
  /** Requests that have asked l2 and would begin a load next. */
  #glancing = 0
  #noneGlances: PromiseWithResolvers<void> | undefined

  constructor(options: ResolvedCacheOptions, layers: Layers, loader: Loader) {
    this.#options = options
    this.#layers = layers
    this.#loader = loader
  }

  ask(options: LoadOptions | undefined): Ask {
    return {
      lifetimes: lifetimesOf(this.#options.lifetimes, options, 'load'),
      tags: safeNames('tag', options?.tags ?? []),
      schema: options?.schema,
      signal: options?.signal,
      since: performance.now(),
      consults: true,
    }
  }

  async one<T>(key: string, factory: Factory<T>, asked: Ask): Promise<Pick<Answer, 'kind' | 'value'>> {
    let ask = asked
    const run = runOf(factory, ask)
    for (;;) {
      const { lookUp } = this.#loader
      if (lookUp && this.#mayGlance(key, ask)) {
        this.#glancing++
        try {
          const entry = await orAborted(lookUp.glance(key, ask), ask.signal)
          if (entry && entry.freshMs > earlyMs(ask.lifetimes)) return { kind: 'hit', value: entry.value }
        } catch (error) {
          ask = afterFailure(ask, error)
        } finally {
          this.#endGlance()
        }
      }
      const batch = new FactoryRun()
      const opened: Item[] = []
      const place = this.#place(key, ask, batch, opened)
      if (opened.length > 0) this.#start(batch, opened, ask, run)
      if ('answer' in place) return place.answer
      const answer = await FactoryRun.await(place.flight.run, () => place.flight.join(place.arrival, ask.signal))
      if (answer) return answer
    }
  }

  /** The same path with more keys: one look-up, one call of the factory. `got` is told of each key once. */
  async many<T>(
    keys: readonly string[],
    factory: BatchFactory<T>,
    asked: Ask,
    got: (key: string, answer: Answered) => void,
  ): Promise<void> {
    let ask = asked
    const safe = new Map(keys.map((key) => [safeName('key', key), key]))
    const nameOf = (key: string): string => safe.get(key) as string
    const run = runOfBatch(factory, ask, nameOf)
    const left = new Set(safe.keys())
    while (left.size > 0) {
      const { lookUp } = this.#loader
      if (lookUp) {
        this.#glancing++
        try {
          await this.#glances(lookUp, left, ask, (key, value) => got(nameOf(key), { kind: 'hit', value }))
        } catch (error) {
          ask = afterFailure(ask, error)
        } finally {
          this.#endGlance()
        }
      }
      const batch = new FactoryRun()
      const opened: Item[] = []
      const places = [...left].map((key): [string, Place] => [key, this.#place(key, ask, batch, opened)])
      if (opened.length > 0) this.#start(batch, opened, ask, run)
      await Promise.all(
        places.map(async ([key, place]) => {
          try {
            const { signal } = ask
            const answer =
              'answer' in place ? place.answer : await FactoryRun.await(place.flight.run, () => place.flight.join(place.arrival, signal))
            if (!answer) return
            got(nameOf(key), answer)
          } catch (error) {
            got(nameOf(key), { kind: 'error', error })
          }
          left.delete(key)
        }),
      )
    }
  }

  /** Answers what is fresh in l2, slice by slice, and takes it out of what is left. Rejects when l2 answered none. */
  async #glances(lookUp: LookUp, left: Set<string>, ask: Ask, got: (key: string, value: unknown) => void): Promise<void> {
    const keys = [...left].filter((key) => this.#mayGlance(key, ask))
    let failure: { readonly error: unknown; readonly times: number } | undefined
    for (let from = 0; from < keys.length; from += sliceSize) {
      const slice = keys.slice(from, from + sliceSize)
      let entries: (Entry | undefined)[]
      try {
        entries = await orAborted(Promise.all(slice.map((key) => lookUp.glance(key, ask))), ask.signal)
      } catch (error) {
        afterFailure(ask, error)
        failure = { error, times: (failure?.times ?? 0) + 1 }
        continue
      }
      slice.forEach((key, index) => {
        const entry = entries[index]
        if (!entry || entry.freshMs <= earlyMs(ask.lifetimes)) return
        left.delete(key)
        got(key, entry.value)
      })
    }
    if (failure && failure.times * sliceSize >= keys.length) throw failure.error
  }

  /** Resolves when no request is on its way to a load. */
  idle(): Promise<void> {
    if (this.#glancing === 0) return Promise.resolve()
    this.#noneGlances ??= Promise.withResolvers()
    return this.#noneGlances.promise
  }

  /** A request that neither a copy nor a load under way can answer asks l2 for himself: a hit needs no lease and no flight. */
  #mayGlance(key: string, { consults }: Ask): boolean {
    if (!consults || this.#layers.local.find(key)) return false
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
    const { local, generations, turns, shared } = this.#layers
    const found = local.find(key)
    const now = performance.now()
    const copy = found && (found.state === 'fresh' || found.state === 'stale' || now < found.entry.retryAt)
    const refresh = found && now >= found.entry.refreshAt && now >= found.entry.retryAt
    if (copy && !refresh) return { answer: { kind: found.state === 'fresh' ? 'hit' : 'stale', value: found.entry.value } }
    const arrival = { position: generations.position, turn: shared ? turns.now : 0, at: now }
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

export type Answered = Pick<Answer, 'kind' | 'value'> | { readonly kind: 'error'; readonly error: unknown }

function runOf<T>(factory: Factory<T>, ask: Ask): Run {
  return async ([flight], signal) => {
    let skip = false
    const entry = {
      signal,
      ttlMs: ask.lifetimes.ttlMs,
      skip: () => {
        skip = true
      },
      tag: (...tags: string[]) => {
        for (const tag of tags) flight?.tag(safeName('tag', tag))
      },
    }
    const value = await factory(entry)
    const ttlMs = lifeOption('entry.ttlMs', entry.ttlMs, 0)
    return () => ({ value, ttlMs, skip: skip || ttlMs === 0 || value === undefined })
  }
}

function runOfBatch<T>(factory: BatchFactory<T>, ask: Ask, nameOf: (key: string) => string): Run {
  return async (missing, signal) => {
    const values = await factory(
      missing.map(({ key }) => nameOf(key)),
      { signal },
    )
    if (typeof values?.get !== 'function') throw new TypeError('the factory of getOrSetMany must return a Map')
    return ({ key }) => {
      const value = values.get(nameOf(key))
      return value instanceof Error ? value : { value, ttlMs: ask.lifetimes.ttlMs, skip: value === undefined }
    }
  }
}
