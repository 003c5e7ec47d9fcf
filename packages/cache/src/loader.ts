import { randomUUID } from 'node:crypto'
import type { SharedRead } from './driver.ts'
import type { LocalEntry } from './entry.ts'
import { CacheError } from './errors.ts'
import type { Generations } from './generations.ts'
import type { LocalLayer } from './local-layer.ts'
import { checkName, numberOption, type ResolvedCacheOptions } from './options.ts'
import type { SharedLayer } from './shared-layer.ts'
import { Flight, type Outcome } from './single-flight.ts'
import { abortable, sleep, within } from './timing.ts'

/** A copy that may stand in. Times are `performance.now()`. */
export interface Candidate {
  readonly value: unknown
  readonly tags: readonly string[]
  readonly revalidateUntil: number
  readonly errorUntil: number
}

/** The right to fill a key in l2, kept alive while the factory runs. */
export interface Lease {
  readonly token: string
  readonly position: string
}

export interface Loaded {
  readonly value: unknown
  readonly ttlMs: number
  readonly lease: Lease | undefined
  readonly skip: boolean
}

export interface LoaderParts {
  readonly options: ResolvedCacheOptions
  readonly local: LocalLayer
  readonly generations: Generations
  readonly shared: SharedLayer | undefined
  readonly measure: <T>(run: () => Promise<T>) => Promise<T>
}

const firstWaitMs = 20
const maxWaitMs = 200

/** What a load does between the moment it is needed and the moment its value is stored, or not. */
export class Loader {
  readonly flights: Map<string, Flight> = new Map()
  readonly parts: LoaderParts
  #turn = 0
  #turning = false
  readonly #active = new Set<Flight>()
  readonly #running = new Set<Promise<void>>()

  constructor(parts: LoaderParts) {
    this.parts = parts
  }

  /** The load in flight that a newcomer may share: one that no invalidation has overtaken. */
  joinable(key: string): Flight | undefined {
    const flight = this.flights.get(key)
    if (!flight || !this.parts.generations.holds(flight.pending, flight.tags)) return undefined
    // A stale copy out of l2, served while its refresh runs, may have been invalidated there since.
    return flight.settled && this.turn > flight.askedIn ? undefined : flight
  }

  /**
   * May a newcomer who joined at this position and turn have what the load brought? Not, if an invalidation may have ended before the
   * newcomer came and after the source was read. Whoever came in the turn in which l2 was asked cannot have heard of anything since.
   */
  serves(flight: Flight, outcome: Outcome, joined: { position: number; turn: number }): boolean {
    if (outcome.kind === 'error') return true
    if (outcome.voided && flight.pending.start < joined.position) return false
    if (outcome.kind === 'miss') return !flight.discarded
    return flight.running || joined.turn <= flight.askedIn
  }

  /** Number of the event loop's turn; counted only while somebody asks. */
  get turn(): number {
    if (!this.#turning) {
      this.#turning = true
      setImmediate(() => {
        this.#turning = false
        this.#turn++
      }).unref()
    }
    return this.#turn
  }

  open(key: string, tags: readonly string[]): Flight {
    const flight = new Flight(this.parts.generations.begin(key), tags, (abandoned) => this.#leave(abandoned))
    this.flights.set(key, flight)
    return flight
  }

  /** Keeps track of a load until its last step; a flight that ends unsettled is a fault of ours and still answers. */
  run(flights: readonly Flight[], work: () => Promise<void>): void {
    for (const flight of flights) this.#active.add(flight)
    const running = work()
      .catch((error: unknown) => {
        for (const flight of flights) this.settle(flight, { kind: 'error', error })
      })
      .finally(() => {
        for (const flight of flights) {
          this.#leave(flight)
          this.#active.delete(flight)
          this.parts.generations.end(flight.pending)
        }
        this.#running.delete(running)
      })
    this.#running.add(running)
  }

  /** Waits for all loads, then cuts them. */
  async close(timeoutMs: number, error: CacheError): Promise<void> {
    const all = Promise.allSettled(this.#running)
    await within(all, timeoutMs).catch(() => undefined)
    for (const flight of this.#active) flight.controller.abort(error)
    await all
  }

  /** `early`: the load goes on and newcomers may share it. `voided` is decided here, while the log of invalidations still reaches back to the beginning of the load. */
  settle(
    flight: Flight,
    outcome: { kind: 'hit' | 'miss' | 'stale'; value: unknown } | { kind: 'error'; error: unknown },
    early = false,
  ): void {
    if (!early) this.#leave(flight)
    if (flight.settled) return
    flight.running = early
    const full: Outcome =
      outcome.kind === 'error' ? outcome : { ...outcome, voided: !this.parts.generations.holds(flight.pending, flight.tags) }
    flight.settle(full)
  }

  candidateOf(entry: LocalEntry): Candidate {
    const { value, revalidateUntil, errorUntil } = entry
    const trusted = entry.epoch === this.parts.generations.epoch
    return { value, tags: entry.tags.map((tag) => tag.name), revalidateUntil: trusted ? revalidateUntil : 0, errorUntil }
  }

  /** One key: l2, then the factory, then both layers. */
  async load(
    flight: Flight,
    factory: (entry: { signal: AbortSignal; tag(...tags: string[]): void; ttlMs: number; skip(): void }) => unknown,
    ttlMs: number,
    localCandidate: Candidate | undefined,
  ): Promise<void> {
    const found = this.parts.shared ? await this.#consult(flight, localCandidate) : undefined
    if (found === 'done') return
    const candidate = found?.candidate ?? localCandidate
    const lease = found?.lease
    if (candidate && !flight.settled && performance.now() < candidate.revalidateUntil) {
      if (found?.candidate) flight.askedIn = found.askedIn
      this.#serveStale(flight, candidate)
    }
    const stopRenewing = lease && this.#keep(flight, lease)
    let skip = false
    const entry = {
      signal: flight.controller.signal,
      ttlMs,
      skip: () => {
        skip = true
      },
      tag: (...tags: string[]) => {
        for (const tag of tags) {
          checkName('tag', tag)
          flight.tags.add(tag)
        }
      },
    }
    try {
      const value = await this.timed(
        [flight],
        () => candidate,
        () => factory(entry),
      )
      const ttl = skip ? 0 : numberOption('entry.ttlMs', entry.ttlMs, ttlMs, 0)
      await this.store(flight, { value, ttlMs: ttl, lease, skip: skip || ttl === 0 || value === undefined })
    } catch (error) {
      if (lease) this.parts.shared?.release(flight.key, lease.token)
      this.failed(flight, error, candidate)
    } finally {
      stopRenewing?.()
    }
  }

  /** Runs a factory under the two time limits and inside its span; ends at once when all callers have gone. */
  async timed<T>(
    flights: readonly Flight[],
    candidate: () => Candidate | undefined,
    factory: () => T | Promise<T>,
    controller?: AbortController,
  ): Promise<T> {
    const { softTimeoutMs, hardTimeoutMs, namespace } = this.parts.options
    const cut = controller ?? (flights[0] as Flight).controller
    const timers: NodeJS.Timeout[] = []
    const standIn = softTimeoutMs === undefined ? undefined : candidate()
    if (standIn) timers.push(setTimeout(() => flights.forEach((flight) => this.#serveStale(flight, standIn)), softTimeoutMs).unref())
    if (hardTimeoutMs !== undefined)
      timers.push(setTimeout(() => cut.abort(new CacheError('ERR_CACHE_FACTORY_TIMEOUT', undefined, { namespace })), hardTimeoutMs))
    try {
      return await this.parts.measure(() => abortable(Promise.resolve().then(factory), cut.signal))
    } finally {
      for (const timer of timers) clearTimeout(timer)
    }
  }

  /** Stores where it may and answers the callers; slow storing does not hold them back. */
  async store(flight: Flight, loaded: Loaded): Promise<void> {
    const { shared, local, generations, options } = this.parts
    const { key, pending, tags } = flight
    let { value } = loaded
    if (loaded.skip) {
      if (loaded.lease) shared?.release(key, loaded.lease.token)
      return this.settle(flight, { kind: 'miss', value })
    }
    const freshMs = loaded.ttlMs * (1 - Math.random() / 10)
    let confirmed = !shared
    if (shared) {
      const body = this.encode(value)
      value = options.serializer.decode(body)
      if (loaded.lease) {
        const { token, position } = loaded.lease
        if (!generations.holds(pending, tags) || body.length > options.maxEntryBytes) shared.release(key, token)
        else {
          const answer = setTimeout(() => this.settle(flight, { kind: 'miss', value }, true), options.l2SoftTimeoutMs).unref()
          const retainMs = freshMs + Math.max(options.staleIfErrorMs, options.staleWhileRevalidateMs)
          const stored = await shared.fill({ key, body, freshMs, retainMs, tags: [...tags], token, position }).catch(() => undefined)
          clearTimeout(answer)
          if (stored === false) {
            flight.discarded = true
            return this.settle(flight, { kind: 'miss', value })
          }
          confirmed = stored === true
        }
      }
    }
    const { staleIfErrorMs: errorMs, staleWhileRevalidateMs: revalidateMs } = options
    local.put(key, { pending, tags, value, freshMs, revalidateMs, errorMs, confirmed })
    this.settle(flight, { kind: 'miss', value })
  }

  encode(value: unknown): string {
    const { serializer, namespace } = this.parts.options
    try {
      return serializer.encode(value)
    } catch (cause) {
      throw new CacheError('ERR_CACHE_NOT_SERIALIZABLE', undefined, { cause, namespace })
    }
  }

  /** A stale copy stands in if it may; no new attempt for a while. */
  failed(flight: Flight, error: unknown, candidate: Candidate | undefined): void {
    const { logger, namespace, errorBackoffMs } = this.parts.options
    const now = performance.now()
    const misuse = CacheError.isInstance(error) && (error.code === 'ERR_CACHE_NOT_SERIALIZABLE' || error.code === 'ERR_CACHE_OPTIONS')
    const usable = candidate && !misuse && !flight.abandoned && this.parts.generations.holds(flight.pending, candidate.tags)
    const errorMs = usable ? Math.max(candidate.errorUntil, candidate.revalidateUntil) - now : 0
    if (usable && errorMs > 0) {
      logger?.warn({ err: error, namespace }, 'the factory failed; a stale copy stands in')
      const { pending } = flight
      const { tags, value } = candidate
      this.parts.local.put(flight.key, {
        pending,
        tags,
        value,
        freshMs: 0,
        revalidateMs: 0,
        errorMs,
        confirmed: true,
        retryInMs: errorBackoffMs,
      })
      return this.settle(flight, { kind: 'stale', value })
    }
    if (flight.settled) logger?.warn({ err: error, namespace }, 'a refresh in the background failed')
    this.settle(flight, { kind: 'error', error })
  }

  /** From what l2 said: the value if it is fresh, or what may stand in. */
  interpret(key: string, read: SharedRead): { fresh: { value: unknown } | undefined; candidate: Candidate | undefined } {
    const none = { fresh: undefined, candidate: undefined }
    const { shared, options } = this.parts
    if (read.body === undefined || read.tags.some((tag) => shared?.delivery.coversTag(tag))) return none
    try {
      const value = options.serializer.decode(read.body)
      const staleAt = performance.now() + read.freshMs
      const candidate: Candidate = {
        value,
        tags: read.tags,
        revalidateUntil: staleAt + options.staleWhileRevalidateMs,
        errorUntil: staleAt + options.staleIfErrorMs,
      }
      return { fresh: read.freshMs > 0 ? { value } : undefined, candidate }
    } catch (err) {
      options.logger?.warn({ err, namespace: options.namespace }, 'an entry of l2 could not be decoded and is removed')
      shared?.invalidate({ keys: [key], tags: [], all: false }).catch(() => undefined)
      return none
    }
  }

  keepHit(flight: Flight, read: SharedRead, value: unknown): void {
    const { local, options } = this.parts
    const { pending } = flight
    for (const tag of read.tags) flight.tags.add(tag)
    const { staleIfErrorMs: errorMs, staleWhileRevalidateMs: revalidateMs } = options
    local.put(flight.key, { pending, tags: read.tags, value, freshMs: read.freshMs, revalidateMs, errorMs, confirmed: true })
    this.settle(flight, { kind: 'hit', value })
  }

  /** Asks l2, and waits for another process that loads the same key, within bounds. `done`: answered from there. */
  async #consult(
    flight: Flight,
    local: Candidate | undefined,
  ): Promise<'done' | { candidate?: Candidate | undefined; lease?: Lease; askedIn: number }> {
    const shared = this.parts.shared as SharedLayer
    const { leaseMs, leaseWaitMs, l2SoftTimeoutMs } = this.parts.options
    const startedAt = performance.now()
    let waitMs = firstWaitMs
    for (;;) {
      if (flight.controller.signal.aborted) throw flight.controller.signal.reason as Error
      if (shared.delivery.covers(flight.key)) return { askedIn: 0 }
      const token = randomUUID()
      let read: SharedRead | undefined
      const askedIn = this.turn
      try {
        const answer = shared.read([{ key: flight.key, lease: { token, leaseMs, tags: [...flight.tags] } }])
        const giveBack = (late: SharedRead[]) => {
          if (late[0]?.lease === 'held') shared.release(flight.key, token)
        }
        read = (await (local ? within(answer, l2SoftTimeoutMs, giveBack) : answer))[0]
      } catch {
        return { askedIn }
      }
      if (!read) return { askedIn }
      const { fresh, candidate } = this.interpret(flight.key, read)
      if (fresh) {
        if (read.lease === 'held') shared.release(flight.key, token)
        flight.askedIn = askedIn
        this.keepHit(flight, read, fresh.value)
        return 'done'
      }
      if (read.lease === 'none') return { candidate, askedIn }
      if (read.lease === 'held') return { candidate, askedIn, lease: { token, position: read.position } }
      if (candidate && performance.now() < candidate.revalidateUntil) {
        flight.askedIn = askedIn
        this.settle(flight, { kind: 'stale', value: candidate.value })
        return 'done'
      }
      if (performance.now() - startedAt + waitMs > leaseWaitMs) return { candidate, askedIn }
      await abortable(sleep(waitMs * (0.5 + Math.random() / 2)), flight.controller.signal)
      waitMs = Math.min(maxWaitMs, waitMs * 2)
    }
  }

  #serveStale(flight: Flight, candidate: Candidate): void {
    if (flight.settled || performance.now() >= Math.max(candidate.revalidateUntil, candidate.errorUntil)) return
    if (!this.parts.generations.holds(flight.pending, candidate.tags)) return
    flight.keepInBackground()
    this.settle(flight, { kind: 'stale', value: candidate.value }, true)
  }

  #keep(flight: Flight, lease: Lease): () => void {
    const { leaseMs } = this.parts.options
    const timer = setInterval(() => {
      this.parts.shared?.renew(flight.key, lease.token, leaseMs).catch(() => undefined)
    }, leaseMs / 3).unref()
    return () => clearInterval(timer)
  }

  #leave(flight: Flight): void {
    if (this.flights.get(flight.key) === flight) this.flights.delete(flight.key)
  }
}
