import { AsyncLocalStorage } from 'node:async_hooks'
import { CacheError } from './errors.ts'
import type { Flight } from './single-flight.ts'

/** The run that this code is part of, for this package's caches together: a ring may lead through several. */
const running = new AsyncLocalStorage<FactoryRun>()

/** One run of one factory, for one key or many. */
export class FactoryRun {
  readonly flights: Flight[] = []
  ended = false
  #controller: AbortController | undefined
  #reason: { readonly reason: unknown } | undefined
  /** So many flights, from the first on, are known to be settled. */
  #settled = 0
  #waitsFor: Map<FactoryRun, number> | undefined

  /** Aborts when every caller has gone, at hardTimeoutMs and at close. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#reason && !this.#controller.signal.aborted) this.#controller.abort(this.#reason.reason)
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#reason ??= { reason }
    this.#controller?.abort(reason)
  }

  throwIfAborted(): void {
    if (this.#reason) throw this.#reason.reason
  }

  /** Ends it and tells whoever waits, without waiting for what it is about. */
  cut(reason: unknown): void {
    this.abort(reason)
    for (const flight of this.flights) flight.fail(reason)
  }

  /** Nobody waits for this flight any more; the load ends when that is true of all. */
  abandon(flight: Flight, reason: unknown): void {
    flight.fail(reason)
    while (this.flights[this.#settled]?.state.is === 'settled') this.#settled++
    if (this.#settled === this.flights.length) this.abort(reason)
  }

  /** Runs the factory so that what it asks for is known to be waited for by this load. */
  enter<T>(factory: () => T): T {
    return running.run(this, factory)
  }

  #ringTo(target: FactoryRun, seen: Set<FactoryRun> = new Set()): FactoryRun[] | undefined {
    if (this === target) return [this]
    if (this.ended || seen.has(this)) return undefined
    seen.add(this)
    for (const next of this.#waitsFor?.keys() ?? []) {
      const path = next.#ringTo(target, seen)
      if (path) return [this, ...path]
    }
    return undefined
  }

  get #name(): string {
    const [first] = this.flights
    return this.flights.length > 1 ? `${first?.key} (and ${this.flights.length - 1} more)` : String(first?.key)
  }

  /** Awaits on behalf of the factory that runs here, if one does. Rejects at once when that factory would wait for itself. */
  static await<T>(run: FactoryRun, work: () => Promise<T>): Promise<T> {
    const by = running.getStore()
    return by && !by.ended ? by.#await(run, work) : work()
  }

  async #await<T>(run: FactoryRun, work: () => Promise<T>): Promise<T> {
    const ring = run.#ringTo(this)
    if (ring) {
      const keys = [this, ...ring].map((each) => each.#name).join(' -> ')
      throw new CacheError('ERR_CACHE_REENTRANT', `a factory waits for itself: ${keys}`)
    }
    this.#waitsFor ??= new Map()
    const waitsFor = this.#waitsFor
    waitsFor.set(run, (waitsFor.get(run) ?? 0) + 1)
    try {
      return await work()
    } finally {
      const left = (waitsFor.get(run) ?? 1) - 1
      if (left > 0) waitsFor.set(run, left)
      else waitsFor.delete(run)
    }
  }
}
