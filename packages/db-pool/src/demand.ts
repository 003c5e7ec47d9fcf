/** Of one new value in the running averages. */
const share = 0.2
/** Callers that wait for longer than this many uses are served too slowly by what is there. */
const patienceUses = 3
const patienceMs = 10

/**
 * How many connections to open. As many as there are callers without a supply, except when those that are there will have served them
 * before a new one could: opening costs a server process, and a burst is often over by then.
 */
export class Demand {
  readonly #again: () => void
  #useMs: number | undefined
  #connectMs: number | undefined
  #patience: NodeJS.Timeout | undefined

  /** `again`: whoever still waits has waited for long enough to be looked at anew. */
  constructor(again: () => void) {
    this.#again = again
  }

  stop(): void {
    clearTimeout(this.#patience)
  }

  used(ms: number): void {
    this.#useMs = average(this.#useMs, ms)
  }

  connected(ms: number): void {
    this.#connectMs = average(this.#connectMs, ms)
  }

  /** `wanted`: callers without a supply; `inUse`: connections that will come back; `oldestWaitMs`: of the caller who waits longest. */
  toOpen(wanted: number, inUse: number, oldestWaitMs: number): number {
    const toOpen = this.#toOpen(wanted, inUse, oldestWaitMs)
    if (toOpen < wanted) {
      this.#patience ??= setTimeout(() => {
        this.#patience = undefined
        this.#again()
      }, this.#patienceMs)
    }
    return toOpen
  }

  #toOpen(wanted: number, inUse: number, oldestWaitMs: number): number {
    if (this.#useMs === undefined || this.#connectMs === undefined || inUse === 0) return wanted
    const uses = Math.floor(this.#connectMs / Math.max(this.#useMs, 0.05))
    if (uses === 0) return wanted
    // Slower than the averages promise: twice as many, not all at once, which would slow down those that are there.
    if (oldestWaitMs > this.#patienceMs) return Math.min(wanted, inUse)
    return Math.max(0, wanted - inUse * uses)
  }

  /** After this time a caller who still waits has connections opened, whatever the averages say. */
  get #patienceMs(): number {
    return Math.max(patienceMs, patienceUses * (this.#useMs ?? 0), (this.#connectMs ?? 0) / 2)
  }
}

function average(before: number | undefined, value: number): number {
  return before === undefined ? value : before + (value - before) * share
}
