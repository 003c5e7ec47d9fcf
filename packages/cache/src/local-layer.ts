import { copyOf, freezeDeep, type Isolation } from './codec.ts'
import { CoarseClock } from './coarse-clock.ts'
import type { Coherence } from './coherence.ts'
import type { LocalDriver, LocalStore } from './driver.ts'
import { type Freshness, freshness, type LocalEntry, tagsUnchanged } from './entry.ts'
import type { Generations, Pending } from './generations.ts'
import type { Invalidation } from './invalidation.ts'
import type { SuspectPolicy } from './options.ts'

export interface LocalWrite {
  readonly pending: Pending
  readonly tags: readonly string[]
  readonly value: unknown
  readonly freshMs: number
  readonly revalidateMs: number
  readonly errorMs: number
  /** So long before it is stale a refresh begins; 0: none. */
  readonly earlyMs: number
  /** When l2 last vouched for it, or its source was about to be read: from here on others may have invalidated it (`performance.now()`). */
  readonly vouchedAt: number
  /** l2, where there is one, agreed or was not concerned; otherwise the copy is short-lived. */
  readonly confirmed: boolean
  /** l2 holds it as well. */
  readonly shared: boolean
  /** After a failed refresh. */
  readonly retryInMs?: number | undefined
}

export interface LocalLayerOptions {
  readonly suspectTtlMs: number
  readonly suspect: SuspectPolicy
  readonly values: Isolation
  /** Neither l2 nor a bus. */
  readonly alone: boolean
  readonly keepsFallback: boolean
}

/** l1 with the rules under which a copy counts. Works without a store, too: then there is only the order of invalidations. */
export class LocalLayer {
  readonly generations: Generations
  /** Set when there is a bus. */
  coherence: Coherence | undefined
  /** None without l1, and after close: what ends late stores nothing. */
  #store: LocalStore | undefined
  readonly #options: LocalLayerOptions
  readonly #copies: boolean
  /** No other process can invalidate what is here. */
  readonly #alone: boolean
  readonly #clock = new CoarseClock()

  constructor(driver: LocalDriver | undefined, generations: Generations, options: LocalLayerOptions) {
    this.generations = generations
    this.#options = options
    this.#copies = options.values === 'copied'
    this.#alone = options.alone
    this.#store = driver?.open({ onRemove: (entry) => generations.release(entry.tags), sharedBytes: () => generations.bytes })
  }

  /** The fast path: fresh, and not yet to be refreshed. */
  fresh(key: string): LocalEntry | undefined {
    const entry = this.#store?.get(key)
    if (entry === undefined) return undefined
    const now = this.#alone ? this.#clock.now() : this.#confirmedNow()
    return now < entry.refreshAt && entry.epoch === this.generations.epoch && tagsUnchanged(entry) ? entry : undefined
  }

  /** Others may invalidate: the bounds of what is not confirmed count from the very moment. */
  #confirmedNow(): number {
    const now = performance.now()
    const { coherence } = this
    if (coherence !== undefined && now >= coherence.confirmedUntil) coherence.lose('no heartbeat came back')
    return now
  }

  find(key: string): { entry: LocalEntry; state: Freshness } | undefined {
    const entry = this.#store?.get(key)
    if (!entry) return undefined
    const state = freshness(entry, this.generations.epoch, performance.now())
    if (state !== 'expired') return { entry, state }
    this.#store?.delete(key)
    return undefined
  }

  /** Whether there is a place for copies at all. */
  get keeps(): boolean {
    return this.#store !== undefined
  }

  /** Changes nothing. */
  peek(key: string): LocalEntry | undefined {
    return this.#store?.get(key)
  }

  /** What a caller gets of a value that l1 may hold. */
  handOut<T>(value: T): T {
    return this.#copies ? copyOf(value) : value
  }

  /** The value as l1 may hold it and callers may see it. */
  own<T>(value: T): T {
    return this.#store && this.#options.values === 'frozen' ? freezeDeep(value) : value
  }

  /** False when an invalidation came meanwhile. */
  put(key: string, write: LocalWrite): boolean {
    const { generations } = this
    if (!generations.holds(write.pending, write.tags)) return false
    if (!this.#store) return true
    const suspect = this.coherence?.suspect === true
    if (suspect && this.#options.suspect === 'bypass') return true
    const vouched = this.coherence ? !suspect || this.#options.suspect === 'serve' : this.#alone
    const short = !vouched || !write.confirmed
    const { suspectTtlMs } = this.#options
    const now = performance.now()
    const shortUntil = write.vouchedAt + suspectTtlMs
    const freshUntil = short ? Math.min(now + write.freshMs, shortUntil) : now + write.freshMs
    const revalidateUntil = short ? freshUntil : freshUntil + write.revalidateMs
    // Without a bus l2 keeps what may stand in; with one that is away, an old copy is better than none.
    const errorUntil = short && !this.coherence ? Math.min(freshUntil + write.errorMs, shortUntil) : freshUntil + write.errorMs
    if (Math.max(freshUntil, revalidateUntil, errorUntil) <= now) {
      this.#store.delete(key)
      return true
    }
    const retryAt = short ? Math.min(now + (write.retryInMs ?? 0), shortUntil) : now + (write.retryInMs ?? 0)
    this.#store.set(key, {
      value: this.handOut(write.value),
      freshUntil,
      refreshAt: write.earlyMs > 0 && !short ? freshUntil - write.earlyMs : freshUntil,
      revalidateUntil,
      errorUntil,
      position: write.pending.start,
      epoch: generations.epoch,
      tags: generations.retain(write.tags),
      shared: write.shared,
      retryAt,
    })
    return true
  }

  /** Copies go, stale ones too, and whatever is under way for them will not be stored. */
  invalidate({ keys, tags, all }: Invalidation): void {
    if (all) return this.flush()
    for (const key of keys) {
      this.generations.voidKey(key)
      this.#store?.delete(key)
    }
    for (const tag of tags) this.generations.voidTag(tag)
  }

  flush(): void {
    this.generations.voidAll()
    this.#store?.clear()
  }

  /** Copies may have missed an invalidation: they stop counting, and remain only where staleIfErrorMs asks for something rather than nothing. */
  distrust(): void {
    if (this.#options.suspect === 'serve') return
    if (this.#options.keepsFallback && this.#options.suspect === 'shorten') this.generations.voidAll()
    else this.flush()
  }

  stats(): { entries: number; bytes: number; evictions: number } {
    return this.#store?.stats() ?? { entries: 0, bytes: 0, evictions: 0 }
  }

  close(): void {
    this.#store?.close()
    this.#store = undefined
    this.#clock.stop()
  }
}
