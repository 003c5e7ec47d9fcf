import type { Pending } from './generations.ts'

/** How a request ended; loads never reject, so that nobody has to listen. */
export type Outcome =
  /** `voided`: an invalidation came between the beginning of the load and its end. */
  | { readonly kind: 'hit' | 'miss' | 'stale'; readonly value: unknown; readonly voided: boolean }
  | { readonly kind: 'error'; readonly error: unknown }

/** One load of one key, shared by everyone who asks meanwhile. Ends early only when every caller has gone. */
export class Flight {
  readonly pending: Pending
  /** Known so far: given by the first caller, added by the factory. */
  readonly tags: Set<string>
  readonly controller: AbortController = new AbortController()
  readonly outcome: Promise<Outcome>
  settled = false
  /** Set where l2 answered: the turn of the event loop in which it was asked. Who came in a later one may know more. */
  askedIn: number = Number.POSITIVE_INFINITY
  /** Settled with a stale copy while the load goes on. */
  running = false
  /** l2 refused the value: another process invalidated it during the load. */
  discarded = false
  /** Every caller has gone: what the factory says now is nobody's failure. */
  abandoned = false
  #resolve: (outcome: Outcome) => void
  #callers = 0
  #background = false
  readonly #onAbandoned: (flight: Flight) => void

  constructor(pending: Pending, tags: readonly string[], onAbandoned: (flight: Flight) => void) {
    this.pending = pending
    this.tags = new Set(tags)
    this.#onAbandoned = onAbandoned
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    this.outcome = promise
    this.#resolve = resolve
  }

  get key(): string {
    return this.pending.key
  }

  /** The load is worth finishing without callers: a refresh, or one that served a stale copy. */
  keepInBackground(): void {
    this.#background = true
  }

  settle(outcome: Outcome): void {
    this.settled = true
    this.#resolve(outcome)
  }

  wait(signal: AbortSignal | undefined): Promise<Outcome> {
    this.#callers++
    if (!signal) return this.outcome
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        reject(signal.reason as Error)
        if (--this.#callers > 0 || this.#background || this.settled) return
        this.abandoned = true
        this.#onAbandoned(this)
        this.controller.abort(signal.reason)
      }
      if (signal.aborted) return onAbort()
      signal.addEventListener('abort', onAbort, { once: true })
      void this.outcome.then((outcome) => {
        signal.removeEventListener('abort', onAbort)
        resolve(outcome)
      })
    })
  }
}
