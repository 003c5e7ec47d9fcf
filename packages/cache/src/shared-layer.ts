import { backoffMs, equalDeadlines } from '@platform/kernel'
import { Delivery } from './delivery.ts'
import type { SharedLookup, SharedRead, SharedStore, SharedWrite } from './driver.ts'
import { CacheError, isRefusal } from './errors.ts'
import type { Invalidation } from './invalidation.ts'

const failuresUntilPause = 3
const initialPauseMs = 200
const maxPauseMs = 2_000

/** Keys of one round trip, each of which has a time limit of its own. */
export const sliceSize = 500

interface Question {
  readonly lookup: SharedLookup
  resolve(read: SharedRead): void
  reject(error: unknown): void
}

/** `well`: asked. `away`: not asked until the time has come, then by one request alone. */
type State = { readonly is: 'well'; failures: number } | { readonly is: 'away'; retries: number; until: number; probing: boolean }

/** l2 behind a time limit and a pause after repeated failures. Invalidations that do not get through wait here, and what they name counts as absent. */
export class SharedLayer {
  readonly delivery: Delivery
  readonly #store: SharedStore
  readonly #timeoutMs: number
  readonly #beginLimit: (onLate: () => void) => () => void
  readonly #onAsk: () => void
  readonly #onEnded: (keys: readonly string[]) => void
  #state: State = { is: 'well', failures: 0 }
  #asked: Question[] = []
  /** Of every question that is sent: tells who waits that there will be no answer. */
  readonly #unanswered = new Set<(error: unknown) => void>()

  constructor(
    store: SharedStore,
    timeoutMs: number,
    events: {
      onDelivered(what: Invalidation, attempts: number): void
      onRefused(error: unknown): void
      /** Entries are about to be asked for. */
      onAsk(): void
      /** Leases have been given up of which other processes wait for the end. */
      onEnded(keys: readonly string[]): void
    },
  ) {
    this.#store = store
    this.#timeoutMs = timeoutMs
    this.#beginLimit = equalDeadlines(timeoutMs)
    this.#onAsk = () => events.onAsk()
    this.#onEnded = (keys) => events.onEnded(keys)
    this.delivery = new Delivery({ ...events, timeoutMs, send: (what) => limited(store.invalidate(what), timeoutMs) })
  }

  /** What is asked in one go is one question, whoever asks. A lease that arrives too late is given back. */
  read(lookup: SharedLookup): Promise<SharedRead> {
    return new Promise((resolve, reject) => {
      if (this.#asked.push({ lookup, resolve, reject }) === 1) queueMicrotask(() => this.#ask())
    })
  }

  giveBack({ key, lease }: SharedLookup, read: SharedRead): void {
    if (lease && read.lease === 'held') this.release([key], lease.token)
  }

  #ask(): void {
    const asked = this.#asked
    this.#asked = []
    const lookups = asked.map(({ lookup }) => lookup)
    const fail = (error: unknown): void => {
      for (const { reject } of asked) reject(error)
    }
    let state: State
    let answer: Promise<SharedRead[]>
    try {
      state = this.#enter()
      this.#onAsk()
      answer = this.#store.read(lookups)
    } catch (error) {
      return fail(error)
    }
    let left = false
    const leave = (error: unknown): void => {
      left = true
      end()
      fail(error)
    }
    const endLimit = this.#beginLimit(() => {
      this.#failed(state)
      leave(tooLate(this.#timeoutMs))
    })
    const end = (): void => {
      endLimit()
      this.#unanswered.delete(leave)
    }
    this.#unanswered.add(leave)
    answer.then(
      (reads) => {
        if (left) return lookups.forEach((lookup, index) => this.giveBack(lookup, reads[index] as SharedRead))
        end()
        this.#well()
        for (let index = 0; index < asked.length; index++) (asked[index] as Question).resolve(reads[index] as SharedRead)
      },
      (error: unknown) => {
        if (left) return
        end()
        this.#judge(error, state)
        fail(error)
      },
    )
  }

  /** Whether it was stored. */
  async fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<boolean> {
    const { stored, awaited } = await this.#call(() => this.#store.fill(write))
    if (awaited) this.#onEnded([write.key])
    return stored
  }

  /** Not waited for, nor is `release`: a lease that is lost or stays costs a load or a wait of the others. */
  renew(keys: readonly string[], token: string, leaseMs: number, yielded: boolean): void {
    this.#call(() => this.#store.renew(keys, token, leaseMs, yielded)).catch(() => undefined)
  }

  release(keys: readonly string[], token: string): void {
    this.#call(() => this.#store.release(keys, token)).then(
      (awaited) => {
        if (awaited.length > 0) this.#onEnded(awaited)
      },
      () => undefined,
    )
  }

  write(write: SharedWrite): Promise<void> {
    return this.#call(() => this.#store.write(write))
  }

  ping(): Promise<void> {
    return limited(this.#store.ping(), this.#timeoutMs)
  }

  /** Who still waits for an answer is told at once. */
  async close(error: unknown): Promise<void> {
    this.delivery.close(error)
    for (const leave of this.#unanswered) leave(error)
    await this.#store.close()
  }

  async #call<T>(run: () => Promise<T>): Promise<T> {
    const state = this.#enter()
    try {
      const result = await limited(run(), this.#timeoutMs)
      this.#well()
      return result
    } catch (error) {
      this.#judge(error, state)
      throw error
    }
  }

  /** Throws while l2 is left alone. */
  #enter(): State {
    const state = this.#state
    if (state.is === 'away') {
      if (state.probing || performance.now() < state.until) throw new CacheError('ERR_CACHE_UNAVAILABLE', 'l2 failed just now; not asked')
      state.probing = true
    }
    return state
  }

  /** Who refuses is there. */
  #judge(error: unknown, askedIn: State): void {
    if (isRefusal(error)) this.#well()
    else this.#failed(askedIn)
  }

  #well(): void {
    if (this.#state.is === 'well') this.#state.failures = 0
    else {
      this.#state = { is: 'well', failures: 0 }
      this.delivery.retryNow()
    }
  }

  #failed(askedIn: State): void {
    // Requests that were asked before l2 was known to be away tell nothing new.
    if (this.#state !== askedIn) return
    if (askedIn.is === 'well' && ++askedIn.failures < failuresUntilPause) return
    const retries = askedIn.is === 'well' ? 1 : askedIn.retries + 1
    const until = performance.now() + Math.max(initialPauseMs / 2, backoffMs(retries, initialPauseMs, maxPauseMs))
    this.#state = { is: 'away', retries, until, probing: false }
  }
}

/** Rejects with ERR_CACHE_UNAVAILABLE after `timeoutMs`; `late` gets a result that comes after that. */
export function limited<T>(work: Promise<T>, timeoutMs: number, late?: (result: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined = setTimeout(() => {
      timer = undefined
      reject(tooLate(timeoutMs))
    }, timeoutMs)
    work.then(
      (result) => {
        if (timer === undefined) return late?.(result)
        clearTimeout(timer)
        resolve(result)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(error as Error)
      },
    )
  })
}

function tooLate(timeoutMs: number): CacheError {
  return new CacheError('ERR_CACHE_UNAVAILABLE', `no answer within ${timeoutMs} ms`)
}
