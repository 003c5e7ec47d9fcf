import { guarded, numberOption, orAborted, pause, settlesWithin } from '@platform/kernel'
import { encode, decode, type SchemaLike } from './codec.ts'
import { Coherence } from './coherence.ts'
import type {
  BatchFactory,
  Cache,
  CacheStats,
  Cancellable,
  Explanation,
  Factory,
  LoadOptions,
  ReadOptions,
  StoreOptions,
} from './contract.ts'
import { CacheError, wrongOption } from './errors.ts'
import { explain } from './explain.ts'
import { Generations } from './generations.ts'
import { type CacheCounts, instrument } from './instrumentation.ts'
import { Intents, type TransactionLike } from './intents.ts'
import type { Invalidation } from './invalidation.ts'
import { earlyMs, type Lifetimes, lifetimesOf, retainMs, spreadMs } from './lifetimes.ts'
import { Loader } from './load.ts'
import { LocalLayer, type LocalWrite } from './local-layer.ts'
import { mayBeEscaped, safeName, safeNames } from './names.ts'
import { type CacheOptions, type ResolvedCacheOptions, resolveOptions } from './options.ts'
import { Requests } from './request.ts'
import { limited, SharedLayer } from './shared-layer.ts'
import { Turns } from './turns.ts'

export function createCache(options: CacheOptions): Cache {
  return new TieredCache(resolveOptions(options))
}

class TieredCache implements Cache {
  readonly #options: ResolvedCacheOptions
  readonly #generations = new Generations()
  readonly #turns = new Turns()
  readonly #local: LocalLayer
  readonly #shared: SharedLayer | undefined
  readonly #coherence: Coherence | undefined
  readonly #intents: Intents | undefined
  readonly #loader: Loader
  readonly #requests: Requests
  readonly #counts: CacheCounts = {
    hits: 0,
    misses: 0,
    stale: 0,
    errors: 0,
    invalidations: { local: 0, bus: 0, gap: 0 },
    faults: { l2: 0, bus: 0 },
  }
  readonly #telemetry: ReturnType<typeof instrument>
  /** Writes and invalidations whose callers wait. */
  readonly #underWay = new Set<Promise<void>>()
  readonly #ended = new AbortController()
  #closing: Promise<void> | undefined

  constructor(options: ResolvedCacheOptions) {
    this.#options = options
    const { l1, l2, bus, intents, namespace, logger } = options
    this.#local = new LocalLayer(l1, this.#generations, {
      suspectTtlMs: options.suspectTtlMs,
      suspect: options.suspect,
      values: options.values,
      vouchedWithoutBus: !l2,
      keepsFallback: options.lifetimes.errorMs > 0,
    })
    if (l2) this.#shared = this.#openShared(l2)
    if (bus) {
      this.#coherence = this.#openBus(bus)
      this.#local.coherence = this.#coherence
    }
    if (intents)
      this.#intents = new Intents(intents.db, intents.sweepIntervalMs, { namespace, logger, deliver: (what) => this.#invalidate(what) })
    this.#telemetry = instrument(namespace, this.#counts, () => this.#local.stats())
    const parts = { options, local: this.#local, generations: this.#generations, turns: this.#turns }
    this.#loader = new Loader({
      ...parts,
      shared: this.#shared,
      measure: this.#telemetry.load,
      onFault: (fault, err) => this.#fault('l2', fault, err),
    })
    this.#requests = new Requests({ ...parts, loader: this.#loader, isShared: l2 !== undefined })
  }

  #openShared(l2: NonNullable<ResolvedCacheOptions['l2']>): SharedLayer {
    const { namespace, serializer, l2HardTimeoutMs } = this.#options
    let told = false
    const store = l2.open({
      namespace,
      format: serializer.name,
      binary: serializer.binary === true,
      onError: (err) => {
        if (!told) this.#log('warn', { err, driver: l2.name }, 'l2 is not reachable')
        told = true
      },
      onFault: (fault) => this.#fault('l2', fault),
    })
    return new SharedLayer(store, l2HardTimeoutMs, {
      onDelivered: (what, attempts) => {
        // The others may have read the old entry between the first message and now.
        if (attempts > 1) void this.#coherence?.delivery.add(what).catch(() => undefined)
        this.#local.invalidate(what)
      },
      onRefused: (err) =>
        this.#log('error', { err }, 'l2 refuses an invalidation: the whole namespace goes instead, and l2 is not read until then'),
    })
  }

  #openBus(bus: NonNullable<ResolvedCacheOptions['bus']>): Coherence {
    const { namespace, l2HardTimeoutMs } = this.#options
    return new Coherence(bus, namespace, l2HardTimeoutMs, {
      onInvalidation: (what) => {
        this.#counts.invalidations.bus++
        this.#local.invalidate(what)
      },
      onSuspect: (cause) => {
        this.#log('warn', { bus: bus.name, cause }, 'the bus is not confirmed')
        this.#local.distrust()
      },
      onCoherent: () => {
        this.#log('info', { bus: bus.name }, 'the bus is confirmed')
        this.#local.flush()
      },
      onGap: () => {
        this.#counts.invalidations.gap++
        this.#log('warn', { bus: bus.name }, 'a message of the bus is missing: l1 is flushed')
        this.#local.flush()
      },
      onForeign: () => this.#fault('bus', 'a message of the bus is not ours and is ignored'),
      onRefused: (err) => this.#log('error', { err, bus: bus.name }, 'the bus refuses an invalidation: the whole namespace goes instead'),
    })
  }

  getOrSet<T>(key: string, factory: Factory<T>, options?: LoadOptions): Promise<T> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    const entry = mayBeEscaped(key) ? undefined : this.#local.fresh(key)
    if (entry === undefined) return this.#load(key, factory, options)
    this.#counts.hits++
    return Promise.resolve(this.#local.handOut(entry.value as T))
  }

  async #load<T>(key: string, factory: Factory<T>, options: LoadOptions | undefined): Promise<T> {
    this.#assertOpen()
    const name = safeName('key', key)
    const ask = this.#requests.ask(options)
    try {
      const { kind, value } = await this.#requests.one(name, factory, ask)
      this.#count(kind)
      return this.#local.handOut(value as T)
    } catch (error) {
      if (options?.signal?.aborted !== true) this.#count('error')
      throw error
    }
  }

  async getOrSetMany<T>(keys: readonly string[], factory: BatchFactory<T>, options?: LoadOptions): Promise<Map<string, T | Error>> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    const values = new Map<string, T | Error>()
    await this.#requests.many(keys, factory, this.#requests.ask(options), (key, answer) => {
      if (answer.kind === 'error') {
        if (options?.signal?.aborted) return
        const { error } = answer
        values.set(key, error instanceof Error ? error : new Error('the factory failed', { cause: error }))
      } else if (answer.value !== undefined) values.set(key, this.#local.handOut(answer.value as T))
      this.#count(answer.kind)
    })
    options?.signal?.throwIfAborted()
    return new Map([...new Set(keys)].filter((key) => values.has(key)).map((key) => [key, values.get(key) as T | Error]))
  }

  async get<T>(key: string, options?: ReadOptions): Promise<T | undefined> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    const name = safeName('key', key)
    const found = this.#local.find(name)
    const hit = found?.state === 'fresh' ? found.entry : await this.#lookUp(name, options?.schema, options?.signal)
    this.#count(hit ? 'hit' : 'miss')
    return hit && this.#local.handOut(hit.value as T)
  }

  async #lookUp(key: string, schema: SchemaLike | undefined, signal: AbortSignal | undefined): Promise<{ value: unknown } | undefined> {
    const shared = this.#shared
    if (!shared || shared.delivery.covers(key)) return undefined
    const pending = this.#generations.begin(key)
    const look = async (): Promise<{ value: unknown } | undefined> => {
      const { lifetimes } = this.#options
      const asked = { changing: shared.delivery.view(), turn: this.#turns.now, at: performance.now() }
      try {
        const [read] = await shared.read([{ key }])
        const found = read && read.freshMs > 0 ? await this.#loader.interpret(key, read, { lifetimes, schema }, asked) : undefined
        if (!read || !found) return undefined
        this.#local.put(key, { pending, ...found, ...this.#lives(read.freshMs, lifetimes), confirmed: true })
        return found
      } catch {
        return undefined
      } finally {
        this.#generations.end(pending)
      }
    }
    return orAborted(look(), signal)
  }

  #lives(freshMs: number, lifetimes: Lifetimes): Pick<LocalWrite, 'freshMs' | 'earlyMs' | 'errorMs' | 'revalidateMs'> {
    const { errorMs, revalidateMs } = lifetimes
    return { freshMs, errorMs, revalidateMs, earlyMs: earlyMs(lifetimes) }
  }

  async set<T>(key: string, value: T, options?: StoreOptions): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    if (value === undefined) throw wrongOption('value', 'must not be undefined; delete removes')
    const { namespace, serializer, lifetimes } = this.#options
    const name = safeName('key', key)
    const tags = safeNames('tag', options?.tags ?? [])
    const lives = lifetimesOf(lifetimes, options)
    const body = this.#shared && encode(serializer, namespace, value)
    const kept = this.#local.own(body === undefined ? value : decode(serializer, body))
    await this.#bounded(() => this.#write(name, kept, body, tags, lives), options?.signal)
  }

  async #write(
    key: string,
    value: unknown,
    body: string | Uint8Array | undefined,
    tags: readonly string[],
    lives: Lifetimes,
  ): Promise<void> {
    const what = { keys: [key], tags: [], all: false }
    this.#counts.invalidations.local++
    this.#local.invalidate(what)
    const pending = this.#generations.begin(key)
    const freshMs = spreadMs(lives.ttlMs)
    const vouchedAt = performance.now()
    const put = (confirmed: boolean, shared: boolean): void => {
      if (!this.#generations.holds(pending, tags)) return
      // Who asked l2 before it took the value may have his answer after.
      this.#local.invalidate(what)
      const from = this.#generations.begin(key)
      this.#local.put(key, { pending: from, tags, value, ...this.#lives(freshMs, lives), confirmed, shared, vouchedAt })
      this.#generations.end(from)
    }
    try {
      const stored = this.#shared && body !== undefined && body.length <= this.#options.maxEntryBytes
      let taken = false
      if (stored)
        taken = await this.#shared.write({ key, body, freshMs, retainMs: retainMs(freshMs, lives), tags }).then(
          () => true,
          () => false,
        )
      // When l2 did not take the value, what it still holds is old: the key has to go.
      if (!taken) await this.#shared?.delivery.add(what)
      put(!stored || taken, taken)
      await this.#coherence?.delivery.add(what)
    } catch (error) {
      void this.#coherence?.delivery.add(what).catch(() => undefined)
      put(false, false)
      throw error
    } finally {
      this.#generations.end(pending)
    }
  }

  async delete(key: string, options?: Cancellable): Promise<void> {
    await this.deleteMany([key], options)
  }

  async deleteMany(keys: readonly string[], options?: Cancellable): Promise<void> {
    await this.#invalidateNow({ keys: safeNames('key', keys), tags: [], all: false }, options)
  }

  async deleteByTag(tags: string | readonly string[], options?: Cancellable): Promise<void> {
    await this.#invalidateNow({ keys: [], tags: safeNames('tag', typeof tags === 'string' ? [tags] : tags), all: false }, options)
  }

  async clear(options?: Cancellable): Promise<void> {
    await this.#invalidateNow({ keys: [], tags: [], all: true }, options)
  }

  async #invalidateNow(what: Invalidation, options: Cancellable | undefined): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    if (what.all || what.keys.length + what.tags.length > 0) await this.#bounded(() => this.#invalidate(what), options?.signal)
  }

  invalidateAfterCommit(tx: TransactionLike, what: { keys?: readonly string[]; tags?: readonly string[] }): void {
    const { namespace } = this.#options
    this.#assertOpen()
    const [keys, tags] = [safeNames('key', what.keys ?? []), safeNames('tag', what.tags ?? [])]
    if (typeof tx.afterCommit !== 'function') throw new CacheError('ERR_CACHE_NO_AFTER_COMMIT', undefined, { namespace })
    if (!this.#intents) throw new CacheError('ERR_CACHE_NO_INTENT_STORE', undefined, { namespace })
    if (keys.length + tags.length > 0) this.#intents.add(tx, { keys: [...keys], tags: [...tags], all: false })
  }

  /** Here first, then l2, then the others: whoever hears of it must not find the old entry in l2. */
  async #invalidate(what: Invalidation): Promise<void> {
    this.#counts.invalidations.local++
    this.#local.invalidate(what)
    try {
      await this.#shared?.delivery.add(what)
    } catch (error) {
      void this.#coherence?.delivery.add(what).catch(() => undefined)
      throw error
    }
    await this.#coherence?.delivery.add(what)
  }

  /** Waits as long as one operation of l2 may take, and no longer than the cache is open; the work goes on. */
  async #bounded(start: () => Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    const { namespace, l2HardTimeoutMs } = this.#options
    if (!this.#shared && !this.#coherence) return start()
    const work = start()
    this.#underWay.add(work)
    try {
      await orAborted(
        orAborted(
          limited(
            work.finally(() => this.#underWay.delete(work)),
            l2HardTimeoutMs,
          ),
          signal,
        ),
        this.#ended.signal,
      )
    } catch (cause) {
      signal?.throwIfAborted()
      this.#ended.signal.throwIfAborted()
      if (CacheError.isInstance(cause) && cause.code === 'ERR_CACHE_CLOSED') throw cause
      throw new CacheError('ERR_CACHE_INVALIDATION_PENDING', undefined, { cause, namespace })
    }
  }

  async explain(key: string, options?: Cancellable): Promise<Explanation> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    const name = safeName('key', key)
    const parts = { local: this.#options.l1 && this.#local, shared: this.#shared, coherence: this.#coherence }
    const work = explain(key, name, {
      ...parts,
      generations: this.#generations,
      flight: this.#requests.peek(name),
      lifetimes: this.#options.lifetimes,
    })
    return orAborted(work, options?.signal)
  }

  stats(): CacheStats {
    const { hits, misses, stale, errors, faults } = this.#counts
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
      faults: faults.l2 + faults.bus,
    }
  }

  async ready(options?: Cancellable): Promise<void> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    const given = new AbortController()
    const reachable = async (): Promise<void> => {
      while (this.#shared) {
        try {
          return await this.#shared.ping()
        } catch {
          await pause(50, AbortSignal.any([given.signal, this.#ended.signal]))
        }
      }
    }
    const work = Promise.all([reachable(), this.#coherence?.ready(), this.#intents?.ready()])
    try {
      await orAborted(orAborted(work, options?.signal), this.#ended.signal)
    } finally {
      given.abort()
    }
  }

  /** A cache that is not well makes things slower, not wrong: it warns. */
  async check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    options?.signal?.throwIfAborted()
    this.#assertOpen()
    const faults: string[] = []
    if (this.#coherence?.suspect) faults.push('the bus is not confirmed')
    if (this.#shared) await orAborted(this.#shared.ping(), options?.signal).catch(() => faults.push('l2 does not answer'))
    options?.signal?.throwIfAborted()
    const { pendingInvalidations } = this.stats()
    if (pendingInvalidations > 0) faults.push(`${pendingInvalidations} invalidations wait for delivery`)
    return faults.length > 0 ? { status: 'warn', message: faults.join('; ') } : undefined
  }

  close(options?: { timeoutMs?: number }): Promise<void> {
    this.#closing ??= this.#shutDown(numberOption(wrongOption, 'timeoutMs', options?.timeoutMs ?? 5_000, 0))
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Drains, then cuts: whatever does not end by itself is left behind, and whoever waits is told. */
  async #shutDown(timeoutMs: number): Promise<void> {
    const error = new CacheError('ERR_CACHE_CLOSED', undefined, { namespace: this.#options.namespace })
    const until = performance.now() + timeoutMs
    const left = (): number => Math.max(0, until - performance.now())
    await this.#loader.close(timeoutMs, error)
    await settlesWithin(Promise.allSettled(this.#underWay), left())
    await settlesWithin(Promise.all([this.#shared?.delivery.idle(), this.#coherence?.delivery.idle()]), left())
    const closing = [this.#coherence?.close(error), this.#shared?.close(error), this.#intents?.close(left())].map(async (part) => {
      await part?.catch((err: unknown) => this.#log('warn', { err }, 'close'))
    })
    // Connections end at once where the other side is there; one that is frozen is not waited for.
    await settlesWithin(Promise.all(closing), Math.max(left(), 100))
    this.#ended.abort(error)
    this.#local.close()
    this.#telemetry.stop()
  }

  #assertOpen(): void {
    if (this.#closing) throw new CacheError('ERR_CACHE_CLOSED', undefined, { namespace: this.#options.namespace })
  }

  #fault(where: 'l2' | 'bus', message: string, err?: unknown): void {
    this.#counts.faults[where]++
    this.#log('warn', err === undefined ? {} : { err }, message)
  }

  #log(level: 'info' | 'warn' | 'error', fields: object, message: string): void {
    const { logger, namespace } = this.#options
    guarded(() => logger?.[level]({ ...fields, namespace }, message))
  }

  #count(kind: 'hit' | 'miss' | 'stale' | 'error'): void {
    if (kind === 'hit') this.#counts.hits++
    else if (kind === 'miss') this.#counts.misses++
    else if (kind === 'stale') this.#counts.stale++
    else this.#counts.errors++
  }
}
