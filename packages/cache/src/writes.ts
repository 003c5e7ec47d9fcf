import { orAborted } from '@platform/kernel'
import { type Body, throughSerializer } from './codec.ts'
import type { StoreOptions } from './contract.ts'
import { CacheError } from './errors.ts'
import type { Invalidation } from './invalidation.ts'
import type { Layers } from './layers.ts'
import { type Lifetimes, lifetimesOf, livesOf, retainMs, spreadMs } from './lifetimes.ts'
import { safeNames } from './names.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { limited } from './limited.ts'

/** What is on its way into l2. */
interface Value {
  readonly key: string
  readonly value: unknown
  /** Undefined without l2. */
  readonly body: Body | undefined
  readonly tags: readonly string[]
  readonly lives: Lifetimes
}

/** Writes and invalidations. They take effect in this process when they begin; their callers wait until l2 and the bus have them, within bounds. */
export class Writes {
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers
  readonly #ended: AbortSignal
  readonly #underWay = new Set<Promise<void>>()

  constructor(options: ResolvedCacheOptions, layers: Layers, ended: AbortSignal) {
    this.#options = options
    this.#layers = layers
    this.#ended = ended
  }

  async set(key: string, value: unknown, options: StoreOptions | undefined): Promise<void> {
    const { namespace, serializer, lifetimes } = this.#options
    const { shared, local } = this.#layers
    const stored = shared ? throughSerializer(serializer, namespace, value) : { body: undefined, value }
    // Now: what its caller changes in it later is not meant, and what cannot be copied is refused.
    const kept = local.own(local.handOut(stored.value))
    const write = {
      key,
      value: kept,
      body: stored.body,
      tags: safeNames('tag', options?.tags ?? []),
      lives: lifetimesOf(lifetimes, options, 'store'),
    }
    await this.#bounded(() => this.#store(write), options?.signal)
  }

  /** After a commit: nobody waits for it here. */
  deliver(what: Invalidation): Promise<void> {
    return this.#tracked(this.#layers.invalidate(what))
  }

  async invalidate(what: Invalidation, signal: AbortSignal | undefined): Promise<void> {
    if (what.all || what.keys.length + what.tags.length > 0) await this.#bounded(() => this.#layers.invalidate(what), signal)
  }

  /** Resolves when those that are under way now have ended: taken, or queued for another attempt. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#underWay)
  }

  async #store({ key, value, body, tags, lives }: Value): Promise<void> {
    const { local, shared, coherence, generations } = this.#layers
    const what = { keys: [key], tags: [], all: false }
    this.#layers.invalidateHere(what)
    const pending = generations.begin(key)
    const freshMs = spreadMs(lives.ttlMs)
    const vouchedAt = performance.now()
    const put = (confirmed: boolean, taken: boolean): void => {
      const latest = generations.holds(pending, tags)
      // Who asked l2 before it took the value may have stored his answer here, or have it after.
      local.invalidate(what)
      if (!latest) return
      const from = generations.begin(key)
      local.put(key, { pending: from, tags, value, ...livesOf(freshMs, lives), confirmed, shared: taken, vouchedAt })
      generations.end(from)
    }
    try {
      const stored = shared && body !== undefined && body.length <= this.#options.maxEntryBytes
      const written = stored
        ? await shared.write({ key, body, freshMs, retainMs: retainMs(freshMs, lives), tags }).catch(() => undefined)
        : undefined
      const taken = written !== undefined
      // When l2 did not take the value, what it still holds is old: the key has to go.
      const told = written ?? (await shared?.delivery.add(what))
      put(!stored || taken, taken)
      if (!told) await coherence?.delivery.add(what)
    } catch (error) {
      this.#layers.tellOthers(what)
      put(false, false)
      throw error
    } finally {
      generations.end(pending)
    }
  }

  #tracked(work: Promise<void>): Promise<void> {
    this.#underWay.add(work)
    return work.finally(() => this.#underWay.delete(work))
  }

  /** Waits as long as one operation of l2 may take, and no longer than the cache is open; the work goes on. */
  async #bounded(start: () => Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    const { namespace, l2HardTimeoutMs } = this.#options
    if (!this.#layers.shared && !this.#layers.coherence) return start()
    const work = this.#tracked(start())
    try {
      await orAborted(orAborted(limited(work, l2HardTimeoutMs), signal), this.#ended)
    } catch (cause) {
      signal?.throwIfAborted()
      if (CacheError.isInstance(cause) && cause.code === 'ERR_CACHE_CLOSED') throw cause
      throw new CacheError('ERR_CACHE_INVALIDATION_PENDING', undefined, { cause, namespace })
    }
  }
}
