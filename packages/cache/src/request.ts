import type { BatchFactory, Factory, LoadOptions } from './contract.ts'
import { FactoryRun } from './factory-run.ts'
import type { Layers } from './layers.ts'
import { lifeOption, lifetimesOf } from './lifetimes.ts'
import type { Ask, Item, Loader, Run } from './load.ts'
import { safeName, safeNames } from './names.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { type Answer, type Arrival, Flight } from './single-flight.ts'
import { standInOf } from './stand-in.ts'

/** Where one key is answered from. */
type Place = { readonly answer: Pick<Answer, 'kind' | 'value'> } | { readonly flight: Flight; readonly arrival: Arrival }

/** One request, for one key or many: a copy, the load that is under way, or a load of its own, until an answer is his to have. */
export class Requests {
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers
  readonly #loader: Loader
  readonly #flights = new Map<string, Flight>()

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
    }
  }

  async one<T>(key: string, factory: Factory<T>, ask: Ask): Promise<Pick<Answer, 'kind' | 'value'>> {
    const run = runOf(factory, ask)
    for (;;) {
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
  async many<T>(keys: readonly string[], factory: BatchFactory<T>, ask: Ask, got: (key: string, answer: Answered) => void): Promise<void> {
    const safe = new Map(keys.map((key) => [safeName('key', key), key]))
    const nameOf = (key: string): string => safe.get(key) as string
    const run = runOfBatch(factory, ask, nameOf)
    for (let left = [...safe.keys()]; left.length > 0; ) {
      const batch = new FactoryRun()
      const opened: Item[] = []
      const places = left.map((key) => this.#place(key, ask, batch, opened))
      if (opened.length > 0) this.#start(batch, opened, ask, run)
      const again: string[] = []
      await Promise.all(
        places.map(async (place, index) => {
          const key = left[index] as string
          if ('answer' in place) return got(nameOf(key), place.answer)
          try {
            const answer = await FactoryRun.await(place.flight.run, () => place.flight.join(place.arrival, ask.signal))
            if (answer) got(nameOf(key), answer)
            else again.push(key)
          } catch (error) {
            got(nameOf(key), { kind: 'error', error })
          }
        }),
      )
      left = again
    }
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
