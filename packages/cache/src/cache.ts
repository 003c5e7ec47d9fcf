import { durationOption, knownOptions, longestTimerMs, orAborted, pause, settlesWithin } from '@platform/kernel'
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
import { signalOption } from './departure.ts'
import { CacheError, wrongOption } from './errors.ts'
import { explain } from './explain.ts'
import { instrument } from './instrumentation.ts'
import { Intents, type TransactionLike } from './intents.ts'
import { Journal } from './journal.ts'
import { Layers } from './layers.ts'
import { Loader } from './load.ts'
import { mayBeEscaped, safeName, safeNames } from './names.ts'
import { type CacheOptions, type ResolvedCacheOptions, resolveOptions } from './options.ts'
import { Requests } from './request.ts'
import { schemaOption, type SchemaLike } from './schema.ts'
import { type Nearest, Tokens } from './tokens.ts'
import { Writes } from './writes.ts'

export function createCache(options: CacheOptions): Cache {
  return new TieredCache(resolveOptions(options))
}

/** What connections get to end in, even after timeoutMs. */
const leastClosingMs = 100

class TieredCache implements Cache {
  readonly #options: ResolvedCacheOptions
  readonly #journal: Journal
  readonly #layers: Layers
  readonly #intents: Intents | undefined
  readonly #loader: Loader
  readonly #requests: Readonly<Record<Nearest, Requests>>
  readonly #writes: Writes
  readonly #tokens: Tokens
  readonly #telemetry: ReturnType<typeof instrument>
  readonly #ended = new AbortController()
  #closing: Promise<void> | undefined

  constructor(options: ResolvedCacheOptions) {
    this.#options = options
    const { intents, namespace, logger } = options
    const journal = new Journal(namespace, logger)
    const layers = new Layers(options, journal)
    this.#journal = journal
    this.#layers = layers
    if (intents)
      this.#intents = new Intents(intents.db, intents.sweepIntervalMs, {
        namespace,
        journal,
        deliver: (what) => this.#writes.deliver(what),
      })
    this.#telemetry = instrument(namespace, journal.counts, () => layers.local.stats())
    this.#loader = new Loader(options, layers, journal, this.#telemetry.load)
    const requests = (nearest: Nearest): Requests => new Requests(options, layers, journal, this.#loader, nearest)
    this.#requests = { l1: requests('l1'), l2: requests('l2'), source: requests('source') }
    this.#writes = new Writes(options, layers, this.#ended.signal)
    this.#tokens = new Tokens(layers, this.#writes, options.l2HardTimeoutMs)
  }

  getOrSet<T>(key: string, factory: Factory<T>, options?: LoadOptions): Promise<T> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    const { local } = this.#layers
    if (this.#closing !== undefined) return Promise.reject(this.#closedError())
    const nearest = this.#nearest(options)
    const entry = nearest !== 'l1' || typeof key !== 'string' || mayBeEscaped(key) ? undefined : local.fresh(key)
    if (entry === undefined) return this.#requests[nearest].one(key, factory, options)
    this.#journal.counts.hits++
    return Promise.resolve(local.handOut(entry.value as T))
  }

  async getOrSetMany<T>(keys: readonly string[], factory: BatchFactory<T>, options?: LoadOptions): Promise<Map<string, T | Error>> {
    this.#begin(options)
    return this.#requests[this.#nearest(options)].many(keys, factory, options)
  }

  async get<T>(key: string, options?: ReadOptions): Promise<T | undefined> {
    this.#begin(options)
    const { local } = this.#layers
    const name = safeName('key', key)
    const nearest = this.#nearest(options)
    const found = nearest === 'l1' ? local.find(name) : undefined
    const schema = schemaOption(options?.schema)
    const peek = async (): Promise<{ value: unknown } | undefined> => (nearest === 'source' ? undefined : this.#peek(name, schema))
    const hit = found?.state === 'fresh' ? found.entry : await orAborted(peek(), options?.signal)
    const value = hit && local.handOut(hit.value as T)
    this.#journal.answered(hit ? 'hit' : 'miss')
    return value
  }

  /** Looks into l2 without the wish to fill it. */
  async #peek(key: string, schema: SchemaLike | undefined): Promise<{ value: unknown } | undefined> {
    const { lifetimes } = this.#options
    return this.#loader.glances?.at(key, { lifetimes, tags: [], schema }).catch(() => undefined)
  }

  async set<T>(key: string, value: T, options?: StoreOptions): Promise<void> {
    this.#begin(options)
    if (value === undefined) throw wrongOption('value', 'must not be undefined; delete removes')
    await this.#writes.set(safeName('key', key), value, options)
  }

  async delete(key: string, options?: Cancellable): Promise<void> {
    await this.deleteMany([key], options)
  }

  async deleteMany(keys: readonly string[], options?: Cancellable): Promise<void> {
    this.#begin(options)
    await this.#writes.invalidate({ keys: safeNames('key', keys), tags: [], all: false }, options?.signal)
  }

  async deleteByTag(tags: string | readonly string[], options?: Cancellable): Promise<void> {
    this.#begin(options)
    const names = safeNames('tag', typeof tags === 'string' ? [tags] : tags)
    await this.#writes.invalidate({ keys: [], tags: names, all: false }, options?.signal)
  }

  async clear(options?: Cancellable): Promise<void> {
    this.#begin(options)
    await this.#writes.invalidate({ keys: [], tags: [], all: true }, options?.signal)
  }

  invalidateAfterCommit(tx: TransactionLike, what: { keys?: readonly string[]; tags?: readonly string[] }): void {
    const { namespace } = this.#options
    this.#assertOpen()
    knownOptions(wrongOption, 'what', what, ['keys', 'tags'])
    const [keys, tags] = [safeNames('key', what.keys ?? []), safeNames('tag', what.tags ?? [])]
    if (typeof tx?.query !== 'function') throw wrongOption('tx', 'must be an open transaction: have query and afterCommit')
    if (typeof tx.afterCommit !== 'function') throw new CacheError('ERR_CACHE_NO_AFTER_COMMIT', undefined, { namespace })
    if (!this.#intents) throw new CacheError('ERR_CACHE_NO_INTENT_STORE', undefined, { namespace })
    if (keys.length + tags.length > 0) this.#intents.add(tx, { keys, tags, all: false })
  }

  async token(options?: Cancellable): Promise<string> {
    this.#begin(options)
    return orAborted(this.#tokens.take(), options?.signal)
  }

  #nearest(options: ReadOptions | undefined): Nearest {
    return options?.after === undefined ? 'l1' : this.#tokens.nearest(options.after)
  }

  async explain(key: string, options?: Cancellable): Promise<Explanation> {
    this.#begin(options)
    const name = safeName('key', key)
    const flight = this.#requests.l1.peek(name)
    return orAborted(explain(key, name, this.#layers, flight, this.#options), options?.signal)
  }

  stats(): CacheStats {
    const { hits, misses, stale, errors, faults } = this.#journal.counts
    const requests = hits + misses + stale + errors
    return {
      hits,
      misses,
      stale,
      errors,
      hitRate: requests === 0 ? 0 : (hits + stale) / requests,
      coherence: this.#layers.coherence?.suspect ? 'suspect' : 'coherent',
      ...this.#layers.local.stats(),
      pendingInvalidations: this.#layers.pending,
      faults: faults.l2 + faults.bus,
    }
  }

  async ready(options?: Cancellable): Promise<void> {
    this.#begin(options)
    const { shared, coherence } = this.#layers
    const given = new AbortController()
    const over = AbortSignal.any([given.signal, this.#ended.signal])
    const reachable = async (): Promise<void> => {
      while (shared) {
        try {
          return await shared.ping()
        } catch {
          await pause(50, over)
        }
      }
    }
    // Whoever waits here holds the process, whatever the bus and the databases wait by.
    pause(longestTimerMs, over).catch(() => undefined)
    const work = Promise.all([reachable(), coherence?.ready(), this.#intents?.ready()])
    try {
      await orAborted(orAborted(work, options?.signal), this.#ended.signal)
    } finally {
      given.abort()
    }
  }

  /** A cache that is not well makes things slower, not wrong: it warns. */
  async check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    this.#begin(options)
    const { shared, coherence, pending } = this.#layers
    const faults: string[] = []
    if (coherence?.suspect) faults.push('the bus is not confirmed')
    if (shared) await orAborted(shared.ping(), options?.signal).catch(() => faults.push('l2 does not answer'))
    options?.signal?.throwIfAborted()
    if (pending > 0) faults.push(`${pending} invalidations wait for delivery`)
    return faults.length > 0 ? { status: 'warn', message: faults.join('; ') } : undefined
  }

  close(options?: { timeoutMs?: number }): Promise<void> {
    try {
      this.#closing ??= this.#shutDown(durationOption(wrongOption, 'timeoutMs', options?.timeoutMs ?? 5_000, 0))
      return this.#closing
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Drains, then cuts: whatever does not end by itself is left behind, and whoever waits is told. */
  async #shutDown(timeoutMs: number): Promise<void> {
    const error = this.#closedError()
    const { local, shared, coherence } = this.#layers
    const until = performance.now() + timeoutMs
    const left = (): number => Math.max(0, until - performance.now())
    await settlesWithin(Promise.all(Object.values(this.#requests).map((requests) => requests.idle())), timeoutMs)
    await this.#loader.close(left(), error)
    await settlesWithin(this.#writes.idle(), left())
    await settlesWithin(this.#layers.idle(), left())
    const closing = [coherence?.close(error), shared?.close(error), this.#intents?.close(left())].map(async (part) => {
      await part?.catch((err: unknown) => this.#journal.log('warn', 'close', { err }))
    })
    // Connections end at once where the other side is there; one that is frozen is not waited for.
    await settlesWithin(Promise.all(closing), Math.max(left(), leastClosingMs))
    this.#ended.abort(error)
    local.close()
    this.#telemetry.stop()
  }

  /** Of every call that takes a signal: nothing is done for who has left already. */
  #begin(options: Cancellable | undefined): void {
    signalOption(options?.signal)?.throwIfAborted()
    this.#assertOpen()
  }

  #assertOpen(): void {
    if (this.#closing) throw this.#closedError()
  }

  #closedError(): CacheError {
    return new CacheError('ERR_CACHE_CLOSED', undefined, { namespace: this.#options.namespace })
  }
}
