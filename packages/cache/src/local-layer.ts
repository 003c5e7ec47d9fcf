import type { Coherence } from './coherence.ts'
import type { LocalDriver, LocalStore } from './driver.ts'
import { type Freshness, freshness, type LocalEntry, tagsUnchanged } from './entry.ts'
import type { Generations, Pending } from './generations.ts'
import type { Invalidation } from './invalidation.ts'

export interface LocalWrite {
  readonly pending: Pending
  readonly tags: Iterable<string>
  readonly value: unknown
  readonly freshMs: number
  readonly revalidateMs: number
  readonly errorMs: number
  /** l2, where there is one, agreed; otherwise the copy is short-lived. */
  readonly confirmed: boolean
  /** After a failed refresh. */
  readonly retryInMs?: number | undefined
}

/** l1 with the rules under which a copy counts. Works without a store, too: then there is only the order of invalidations. */
export class LocalLayer {
  readonly generations: Generations
  /** Set when there is a bus. */
  coherence: Coherence | undefined
  readonly #store: LocalStore | undefined
  readonly #suspectTtlMs: number
  readonly #vouchedWithoutBus: boolean
  readonly #keepsFallback: boolean

  constructor(
    driver: LocalDriver | undefined,
    generations: Generations,
    options: { readonly suspectTtlMs: number; readonly vouchedWithoutBus: boolean; readonly keepsFallback: boolean },
  ) {
    this.generations = generations
    this.#suspectTtlMs = options.suspectTtlMs
    this.#vouchedWithoutBus = options.vouchedWithoutBus
    this.#keepsFallback = options.keepsFallback
    this.#store = driver?.open({ onRemove: (entry) => generations.release(entry.tags) })
  }

  /** The fast path. */
  fresh(key: string): LocalEntry | undefined {
    const entry = this.#store?.get(key)
    if (entry === undefined) return undefined
    const now = performance.now()
    const { coherence } = this
    if (coherence !== undefined && now >= coherence.confirmedUntil) coherence.lose('no heartbeat came back')
    return now < entry.freshUntil && entry.epoch === this.generations.epoch && tagsUnchanged(entry) ? entry : undefined
  }

  find(key: string): { entry: LocalEntry; state: Freshness } | undefined {
    const entry = this.#store?.get(key)
    if (!entry) return undefined
    const state = freshness(entry, this.generations.epoch, performance.now())
    if (state !== 'expired') return { entry, state }
    this.#store?.delete(key)
    return undefined
  }

  /** False when an invalidation came meanwhile. */
  put(key: string, write: LocalWrite): boolean {
    if (!this.generations.holds(write.pending, write.tags)) return false
    if (!this.#store) return true
    const vouched = this.coherence ? !this.coherence.suspect : this.#vouchedWithoutBus
    const short = !vouched || !write.confirmed
    const freshMs = short ? Math.min(write.freshMs, this.#suspectTtlMs) : write.freshMs
    const now = performance.now()
    const freshUntil = now + freshMs
    const revalidateUntil = short ? freshUntil : freshUntil + write.revalidateMs
    const errorUntil = freshUntil + write.errorMs
    if (revalidateUntil <= now && errorUntil <= now) {
      this.#store.delete(key)
      return true
    }
    const { generations } = this
    this.#store.set(key, {
      value: write.value,
      freshUntil,
      revalidateUntil,
      errorUntil,
      position: write.pending.start,
      epoch: generations.epoch,
      tags: generations.retain(write.tags),
      retryAt: write.retryInMs ? now + write.retryInMs : 0,
    })
    return true
  }

  /** Copies go, stale ones too, and whatever is under way for them will not be stored. */
  invalidate(what: Invalidation): void {
    if (what.all) return this.flush()
    for (const key of what.keys) {
      this.generations.voidKey(key)
      this.#store?.delete(key)
    }
    for (const tag of what.tags) this.generations.voidTag(tag)
  }

  flush(): void {
    this.generations.voidAll()
    this.#store?.clear()
  }

  /** Copies may have missed an invalidation: they stop counting, and remain only where staleIfErrorMs asks for something rather than nothing. */
  distrust(): void {
    if (this.#keepsFallback) this.generations.voidAll()
    else this.flush()
  }

  stats(): { entries: number; bytes: number; evictions: number } {
    return this.#store?.stats() ?? { entries: 0, bytes: 0, evictions: 0 }
  }

  close(): void {
    this.#store?.close()
  }
}
