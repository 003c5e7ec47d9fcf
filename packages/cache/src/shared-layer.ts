import { Delivery } from './delivery.ts'
import type { SharedLookup, SharedRead, SharedStore, SharedWrite } from './driver.ts'
import { CacheError } from './errors.ts'
import type { Invalidation } from './invalidation.ts'
import { within } from './timing.ts'

const failuresUntilPause = 3
const initialPauseMs = 100
const maxPauseMs = 2_000

/** l2 behind a time limit and a pause after repeated failures. Invalidations that do not get through wait here, and what they name counts as absent. */
export class SharedLayer {
  readonly delivery: Delivery
  readonly #store: SharedStore
  readonly #hardTimeoutMs: number
  #failures = 0
  #pausedUntil = 0
  #probing = false

  constructor(store: SharedStore, hardTimeoutMs: number, onDelivered: (what: Invalidation, attempts: number) => void) {
    this.#store = store
    this.#hardTimeoutMs = hardTimeoutMs
    this.delivery = new Delivery((what) => within(store.invalidate(what), hardTimeoutMs), onDelivered)
  }

  get available(): boolean {
    return this.#pausedUntil === 0
  }

  /** A lease that arrives too late is given back. */
  read(lookups: readonly SharedLookup[]): Promise<SharedRead[]> {
    const giveBack = (reads: SharedRead[]) => {
      for (const [index, { lease }] of reads.entries()) {
        const lookup = lookups[index] as SharedLookup
        if (lease === 'held' && lookup.lease) this.release(lookup.key, lookup.lease.token)
      }
    }
    return this.#call(() => this.#store.read(lookups), giveBack)
  }

  fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<boolean> {
    return this.#call(() => this.#store.fill(write))
  }

  renew(key: string, token: string, leaseMs: number): Promise<boolean> {
    return this.#call(() => this.#store.renew(key, token, leaseMs))
  }

  /** Not waited for: a lease that stays is waited out by the others. */
  release(key: string, token: string): void {
    this.#call(() => this.#store.release(key, token)).catch(() => undefined)
  }

  write(write: SharedWrite): Promise<void> {
    return this.#call(() => this.#store.write(write))
  }

  /** Rejects when l2 did not confirm; the invalidation stays queued. */
  invalidate(what: Invalidation): Promise<void> {
    return this.delivery.add(what)
  }

  ping(): Promise<void> {
    return within(this.#store.ping(), this.#hardTimeoutMs)
  }

  async close(error: unknown): Promise<void> {
    this.delivery.close(error)
    await this.#store.close()
  }

  async #call<T>(run: () => Promise<T>, late?: (result: T) => void): Promise<T> {
    const probe = this.#pausedUntil > 0
    if (probe && (this.#probing || performance.now() < this.#pausedUntil))
      throw new CacheError('ERR_CACHE_UNAVAILABLE', 'l2 failed just now; not asked')
    if (probe) this.#probing = true
    try {
      const result = await within(run(), this.#hardTimeoutMs, late)
      this.#failures = 0
      if (this.#pausedUntil > 0) this.delivery.retryNow()
      this.#pausedUntil = 0
      return result
    } catch (error) {
      if (++this.#failures >= failuresUntilPause || probe)
        this.#pausedUntil =
          performance.now() + Math.min(maxPauseMs, initialPauseMs * 2 ** Math.min(Math.max(this.#failures - failuresUntilPause, 0), 10))
      throw error
    } finally {
      if (probe) this.#probing = false
    }
  }
}
