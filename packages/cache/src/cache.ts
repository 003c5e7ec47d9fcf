import { loadBatch, type BatchItem } from './batch.ts'
import type { BatchFactory, Cache, CacheStats, Cancellable, Factory, StoreOptions } from './contract.ts'
import { Coherence } from './coherence.ts'
import { CacheError } from './errors.ts'
import { Generations } from './generations.ts'
import { type CacheCounts, instrument } from './instrumentation.ts'
import { Intents, type TransactionLike } from './intents.ts'
import type { Invalidation } from './invalidation.ts'
import { Loader } from './loader.ts'
import { LocalLayer } from './local-layer.ts'
import { type CacheOptions, checkName, fail, numberOption, type ResolvedCacheOptions, resolveOptions } from './options.ts'
import { SharedLayer } from './shared-layer.ts'
import type { Flight } from './single-flight.ts'
import { abortable } from './timing.ts'

export function createCache(options: CacheOptions): Cache {
  return new TieredCache(resolveOptions(options))
}

class TieredCache implements Cache {
  readonly #options: ResolvedCacheOptions
  readonly #generations = new Generations()
  readonly #local: LocalLayer
  readonly #shared: SharedLayer | undefined
  readonly #coherence: Coherence | undefined
  readonly #intents: Intents | undefined
  readonly #loader: Loader
  readonly #counts: CacheCounts = { hits: 0, misses: 0, stale: 0, errors: 0, invalidations: { local: 0, bus: 0, gap: 0 } }
  readonly #telemetry: ReturnType<typeof instrument>
  #closing: Promise<void> | undefined

  constructor(options: ResolvedCacheOptions) {
    this.#options = options
    const { namespace, logger, l1, l2, bus } = options
    this.#local = new LocalLayer(l1, this.#generations, {
      suspectTtlMs: options.suspectTtlMs,
      vouchedWithoutBus: !l2,
      keepsFallback: options.staleIfErrorMs > 0,
    })
    if (l2) {
      let known = false
      const onError = (err: unknown) => {
        if (!known) logger?.warn({ err, namespace, driver: l2.name }, 'l2 is not reachable')
        known = true
      }
      this.#shared = new SharedLayer(
        l2.open({ namespace, format: options.serializer.name, onError }),
        options.l2HardTimeoutMs,
        (what, attempts) => {
          // The others may have read the old entry between the first message and now.
          if (attempts > 1) void this.#coherence?.delivery.add(what).catch(() => undefined)
          this.#local.invalidate(what)
        },
      )
    }
    if (bus) {
      this.#coherence = new Coherence(bus, namespace, {
        onInvalidation: (what) => {
          this.#counts.invalidations.bus++
          this.#local.invalidate(what)
        },
        onSuspect: (cause) => {
          logger?.warn({ namespace, bus: bus.name, cause }, 'the bus is not confirmed: copies are short-lived until it is')
          this.#local.distrust()
        },
        onCoherent: () => {
          logger?.info({ namespace, bus: bus.name }, 'the bus is confirmed')
          this.#local.flush()
        },
        onGap: () => {
          this.#counts.invalidations.gap++
          logger?.warn({ namespace, bus: bus.name }, 'a message of the bus is missing: l1 is flushed')
          this.#local.flush()
        },
        onDelivered: () => undefined,
      })
      this.#local.coherence = this.#coherence
    }
    if (options.intents)
      this.#intents = new Intents(options.intents.db, options.intents.sweepIntervalMs, {
        namespace,
        logger,
        deliver: (what) => this.#invalidate(what),
      })
    this.#telemetry = instrument(namespace, this.#counts, () => this.#local.stats())
    const measure = this.#telemetry.load
    this.#loader = new Loader({ options, local: this.#local, generations: this.#generations, shared: this.#shared, measure })
  }

  getOrSet<T>(key: string, factory: Factory<T>, options?: StoreOptions): Promise<T> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    const entry = this.#local.fresh(key)
    if (entry === undefined) return this.#load(key, factory, options)
    this.#counts.hits++
    return Promise.resolve(entry.value as T)
  }

  async #load<T>(key: string, factory: Factory<T>, options: StoreOptions | undefined): Promise<T> {
    const { tags, ttlMs } = this.#prepare([key], options)
    for (;;) {
      const found = this.#local.find(key)
      if (found && (found.state === 'fresh' || performance.now() < found.entry.retryAt)) {
        this.#count(found.state === 'fresh' ? 'hit' : 'stale')
        return found.entry.value as T
      }
      const shared = this.#loader.joinable(key)
      const flight = shared ?? this.#loader.open(key, tags)
      if (!shared) {
        const candidate = found && this.#loader.candidateOf(found.entry)
        this.#loader.run([flight], () => this.#loader.load(flight, factory, ttlMs, candidate))
      }
      if (found?.state === 'stale') {
        flight.keepInBackground()
        this.#count('stale')
        return found.entry.value as T
      }
      const result = await this.#await<T>(flight, shared !== undefined, options?.signal)
      if (result) return result.value
    }
  }

  /** Undefined: the load began before an invalidation that the caller came after; it has to ask again. */
  async #await<T>(flight: Flight, joined: boolean, signal: AbortSignal | undefined): Promise<{ value: T } | undefined> {
    const arrival = joined && { position: this.#generations.position, turn: this.#shared ? this.#loader.turn : 0 }
    const outcome = await flight.wait(signal)
    if (outcome.kind === 'error') {
      this.#count('error')
      throw outcome.error
    }
    if (arrival && !this.#loader.serves(flight, outcome, arrival)) return undefined
    this.#count(outcome.kind)
    return { value: outcome.value as T }
  }

  async getOrSetMany<T>(keys: readonly string[], factory: BatchFactory<T>, options?: StoreOptions): Promise<Map<string, T | Error>> {
    options?.signal?.throwIfAborted()
    const { tags, ttlMs } = this.#prepare(keys, options)
    const values = new Map<string, T | Error>()
    let asked = [...new Set(keys)]
    while (asked.length > 0) {
      const waiting: { flight: Flight; joined: boolean }[] = []
      const items: BatchItem[] = []
      for (const key of asked) {
        const found = this.#local.find(key)
        if (found && (found.state === 'fresh' || found.state === 'stale' || performance.now() < found.entry.retryAt)) {
          this.#count(found.state === 'fresh' ? 'hit' : 'stale')
          values.set(key, found.entry.value as T)
          if (found.state !== 'stale' || performance.now() < found.entry.retryAt || this.#loader.joinable(key)) continue
        }
        const shared = this.#loader.joinable(key)
        const flight = shared ?? this.#loader.open(key, tags)
        if (!shared) items.push({ flight, candidate: found && this.#loader.candidateOf(found.entry) })
        if (values.has(key)) flight.keepInBackground()
        else waiting.push({ flight, joined: shared !== undefined })
      }
      if (items.length > 0)
        this.#loader.run(
          items.map((item) => item.flight),
          () => loadBatch(this.#loader, items, factory, ttlMs),
        )
      const again: string[] = []
      await Promise.all(
        waiting.map(async ({ flight, joined }) => {
          try {
            const result = await this.#await<T | undefined>(flight, joined, options?.signal)
            if (!result) again.push(flight.key)
            else if (result.value !== undefined) values.set(flight.key, result.value)
          } catch (error) {
            options?.signal?.throwIfAborted()
            values.set(flight.key, error instanceof Error ? error : new Error('the factory failed', { cause: error }))
          }
        }),
      )
      asked = again
    }
    return new Map(keys.filter((key) => values.has(key)).map((key) => [key, values.get(key) as T | Error]))
  }

  async get<T>(key: string, options?: Cancellable): Promise<T | undefined> {
    options?.signal?.throwIfAborted()
    this.#prepare([key], undefined)
    const entry = this.#local.fresh(key)
    if (entry) {
      this.#count('hit')
      return entry.value as T
    }
    const hit = this.#shared && (await abortable(this.#lookUp(this.#shared, key), options?.signal))
    this.#count(hit ? 'hit' : 'miss')
    return hit?.value as T | undefined
  }

  async #lookUp(shared: SharedLayer, key: string): Promise<{ value: unknown } | undefined> {
    if (shared.delivery.covers(key)) return undefined
    const pending = this.#generations.begin(key)
    try {
      const [read] = await shared.read([{ key }])
      const fresh = read && this.#loader.interpret(key, read).fresh
      if (!fresh || !read) return undefined
      const { staleIfErrorMs: errorMs, staleWhileRevalidateMs: revalidateMs } = this.#options
      this.#local.put(key, { pending, tags: read.tags, value: fresh.value, freshMs: read.freshMs, revalidateMs, errorMs, confirmed: true })
      return fresh
    } catch {
      return undefined
    } finally {
      this.#generations.end(pending)
    }
  }

  async set<T>(key: string, value: T, options?: StoreOptions): Promise<void> {
    options?.signal?.throwIfAborted()
    const { tags, ttlMs } = this.#prepare([key], options)
    if (value === undefined) fail('undefined cannot be stored; delete removes')
    const body = this.#shared && this.#loader.encode(value)
    await abortable(
      this.#write(key, body === undefined ? value : this.#options.serializer.decode(body), body, tags, ttlMs),
      options?.signal,
    )
  }

  async #write(key: string, value: unknown, body: string | undefined, tags: readonly string[], ttlMs: number): Promise<void> {
    const { staleIfErrorMs: errorMs, staleWhileRevalidateMs: revalidateMs, maxEntryBytes } = this.#options
    const what = { keys: [key], tags: [], all: false }
    this.#counts.invalidations.local++
    this.#local.invalidate(what)
    const pending = this.#generations.begin(key)
    const freshMs = ttlMs * (1 - Math.random() / 10)
    try {
      if (this.#shared && body !== undefined) {
        const stored = body.length <= maxEntryBytes
        if (stored) {
          const write = { key, body, freshMs, retainMs: freshMs + Math.max(errorMs, revalidateMs), tags }
          // When l2 did not take the value, what it still holds is old: the key has to go.
          await this.#shared.write(write).catch(() => this.#shared?.invalidate(what))
        } else await this.#shared.invalidate(what)
      }
      this.#local.put(key, { pending, tags, value, freshMs, revalidateMs, errorMs, confirmed: true })
      await this.#coherence?.delivery.add(what)
    } catch (cause) {
      void this.#coherence?.delivery.add(what).catch(() => undefined)
      this.#local.put(key, { pending, tags, value, freshMs, revalidateMs, errorMs, confirmed: false })
      throw this.#pendingError(cause)
    } finally {
      this.#generations.end(pending)
    }
  }

  async delete(key: string, options?: Cancellable): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#prepare([key], undefined)
    await abortable(this.#invalidate({ keys: [key], tags: [], all: false }), options?.signal)
  }

  async deleteByTag(tag: string, options?: Cancellable): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#prepare([], { tags: [tag] })
    await abortable(this.#invalidate({ keys: [], tags: [tag], all: false }), options?.signal)
  }

  async clear(options?: Cancellable): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#prepare([], undefined)
    await abortable(this.#invalidate({ keys: [], tags: [], all: true }), options?.signal)
  }

  invalidateAfterCommit(tx: TransactionLike, what: { keys?: readonly string[]; tags?: readonly string[] }): void {
    const { keys = [], tags = [] } = what
    this.#prepare(keys, { tags })
    if (typeof tx.afterCommit !== 'function')
      throw new CacheError('ERR_CACHE_NO_AFTER_COMMIT', undefined, { namespace: this.#options.namespace })
    if (!this.#intents) throw new CacheError('ERR_CACHE_NO_INTENT_STORE', undefined, { namespace: this.#options.namespace })
    if (keys.length + tags.length > 0) this.#intents.add(tx, { keys: [...keys], tags: [...tags], all: false })
  }

  /** Here first, then l2, then the others: whoever hears of it must not find the old entry in l2. */
  async #invalidate(what: Invalidation): Promise<void> {
    this.#counts.invalidations.local++
    this.#local.invalidate(what)
    try {
      await this.#shared?.invalidate(what)
    } catch (cause) {
      void this.#coherence?.delivery.add(what).catch(() => undefined)
      throw this.#pendingError(cause)
    }
    try {
      await this.#coherence?.delivery.add(what)
    } catch (cause) {
      throw this.#pendingError(cause)
    }
  }

  #pendingError(cause: unknown): CacheError {
    return CacheError.isInstance(cause) && cause.code === 'ERR_CACHE_CLOSED'
      ? cause
      : new CacheError('ERR_CACHE_INVALIDATION_PENDING', undefined, { cause, namespace: this.#options.namespace })
  }

  stats(): CacheStats {
    const { hits, misses, stale, errors } = this.#counts
    const requests = hits + misses + stale + errors
    return {
      hits,
      misses,
      stale,
      errors,
      hitRate: requests === 0 ? 0 : (hits + stale) / requests,
      coherence: this.#coherence?.suspect ? 'suspect' : 'coherent',
      ...this.#local.stats(),
      pendingInvalidations: (this.#shared?.delivery.size ?? 0) + (this.#coherence?.delivery.size ?? 0),
    }
  }

  async ready(options?: Cancellable): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#prepare([], undefined)
    const reachable = async () => {
      for (;;) {
        try {
          return await this.#shared?.ping()
        } catch (error) {
          if (this.#closing || options?.signal?.aborted) throw error
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    }
    await abortable(Promise.all([reachable(), this.#coherence?.ready(), this.#intents?.ready()]), options?.signal)
  }

  /** A cache that is not well makes things slower, not wrong: it warns. */
  async check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    options?.signal?.throwIfAborted()
    this.#prepare([], undefined)
    const faults: string[] = []
    if (this.#coherence?.suspect) faults.push('the bus is not confirmed')
    if (this.#shared) await abortable(this.#shared.ping(), options?.signal).catch(() => faults.push('l2 does not answer'))
    options?.signal?.throwIfAborted()
    const { pendingInvalidations } = this.stats()
    if (pendingInvalidations > 0) faults.push(`${pendingInvalidations} invalidations wait for delivery`)
    return faults.length > 0 ? { status: 'warn', message: faults.join('; ') } : undefined
  }

  close(options?: { timeoutMs?: number }): Promise<void> {
    this.#closing ??= this.#shutDown(numberOption('timeoutMs', options?.timeoutMs, 5_000, 0))
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #shutDown(timeoutMs: number): Promise<void> {
    const error = new CacheError('ERR_CACHE_CLOSED', undefined, { namespace: this.#options.namespace })
    const until = performance.now() + timeoutMs
    await this.#loader.close(timeoutMs, error)
    const deliveries = Promise.all([Promise.resolve(this.#shared?.delivery.idle()), Promise.resolve(this.#coherence?.delivery.idle())])
    await Promise.race([deliveries, new Promise((resolve) => setTimeout(resolve, Math.max(0, until - performance.now())).unref())])
    const results = await Promise.allSettled([this.#coherence?.close(), this.#shared?.close(error), this.#intents?.close()])
    this.#local.close()
    this.#telemetry.stop()
    for (const result of results) if (result.status === 'rejected') this.#options.logger?.warn({ err: result.reason as unknown }, 'close')
  }

  #prepare(keys: readonly string[], options: StoreOptions | undefined): { tags: readonly string[]; ttlMs: number } {
    if (this.#closing) throw new CacheError('ERR_CACHE_CLOSED', undefined, { namespace: this.#options.namespace })
    for (const key of keys) checkName('key', key)
    const tags = options?.tags ?? []
    for (const tag of tags) checkName('tag', tag)
    return { tags, ttlMs: numberOption('ttlMs', options?.ttlMs, this.#options.ttlMs, 1) }
  }

  #count(kind: 'hit' | 'miss' | 'stale' | 'error'): void {
    if (kind === 'hit') this.#counts.hits++
    else if (kind === 'miss') this.#counts.misses++
    else if (kind === 'stale') this.#counts.stale++
    else this.#counts.errors++
  }
}
