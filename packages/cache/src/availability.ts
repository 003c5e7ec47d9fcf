import { backoffMs } from '@platform/kernel'
import { CacheError, isRefusal } from './errors.ts'

const failuresUntilPause = 3
const initialPauseMs = 200
const maxPauseMs = 2_000

/** `well`: asked. `away`: not asked until the time has come, then by one request alone. */
export type Standing =
  | { readonly is: 'well'; failures: number }
  | { readonly is: 'away'; readonly retries: number; readonly until: number; probing: boolean }

/** Whether l2 is worth asking: after repeated failures it is left alone for a while. */
export class Availability {
  readonly #onBack: () => void
  #standing: Standing = { is: 'well', failures: 0 }

  constructor(onBack: () => void) {
    this.#onBack = onBack
  }

  /** Before every operation; what it returns goes into the verdict on it. Throws while l2 is left alone. */
  enter(): Standing {
    const standing = this.#standing
    if (standing.is === 'away') {
      if (standing.probing || performance.now() < standing.until)
        throw new CacheError('ERR_CACHE_UNAVAILABLE', 'l2 failed just now; not asked')
      standing.probing = true
    }
    return standing
  }

  answered(): void {
    if (this.#standing.is === 'well') this.#standing.failures = 0
    else {
      this.#standing = { is: 'well', failures: 0 }
      this.#onBack()
    }
  }

  /** Who refuses is there. */
  failed(error: unknown, askedIn: Standing): void {
    if (isRefusal(error)) return this.answered()
    // Requests that were asked before l2 was known to be away tell nothing new.
    if (this.#standing !== askedIn) return
    if (askedIn.is === 'well' && ++askedIn.failures < failuresUntilPause) return
    const retries = askedIn.is === 'well' ? 1 : askedIn.retries + 1
    const until = performance.now() + Math.max(initialPauseMs / 2, backoffMs(retries, initialPauseMs, maxPauseMs))
    this.#standing = { is: 'away', retries, until, probing: false }
  }
}
