/** Where a connection was borrowed. */
export interface Trace {
  readonly stack?: string
}

/** Of so many borrowings at first the place is always kept, later of each so-manieth. */
const always = 1_000
const every = 8
const unkept: Trace = {}

/**
 * Where connections are borrowed. To keep the place costs as much as a third of a statement, so a pool in use keeps it for a part of its
 * borrowings only, until somebody gives reason to know: from then on for all.
 */
export class Traces {
  #borrowings = 0
  #suspicious = false

  /** The place that called `entry`, which is one of ours. */
  before(entry: (...facts: never[]) => unknown): Trace {
    this.#borrowings++
    if (!this.#suspicious && this.#borrowings > always && this.#borrowings % every > 0) return unkept
    const trace: Trace = {}
    Error.captureStackTrace(trace, entry)
    return trace
  }

  /** Somebody kept a connection for long, or left something in it. */
  suspect(): void {
    this.#suspicious = true
  }
}

/** Where the pool has the connection. */
export type Place =
  | { readonly in: 'idle'; readonly since: number }
  | { readonly in: 'check' }
  | { readonly in: 'use'; readonly since: number; readonly trace: Trace | undefined; told?: true }
  | { readonly in: 'gone' }
