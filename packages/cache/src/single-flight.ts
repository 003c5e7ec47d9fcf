import type { Generations, Pending } from './generations.ts'
import type { FactoryRun } from './factory-run.ts'

/** A value together with what decides who may have it. */
export interface Answer {
  readonly kind: 'hit' | 'miss' | 'stale'
  readonly value: unknown
  /** The tags of what was read; a change of one of them voids the answer. */
  readonly tags: Iterable<string>
  /** The turn in which l2 last vouched for it, or in which its source was about to be read; infinite where there is no l2. */
  readonly turn: number
  /** From here on it is too old (`performance.now()`). */
  readonly until: number
}

/** What a caller may have heard of when he asked. */
export interface Arrival {
  readonly position: number
  readonly turn: number
  readonly at: number
}

/**
 * The one rule: nobody gets what was read before an invalidation that he may know of. `turn` speaks for other processes, the log of invalidations for
 * this one, `until` for the bounds of age. To be asked at the moment of the answer, or at the arrival of who comes after it: the log reaches back while the load runs.
 */
export function mayHave(generations: Generations, read: Pending, answer: Answer, arrival: Arrival): boolean {
  if (arrival.turn > answer.turn || arrival.at >= answer.until) return false
  return arrival.position === read.start || generations.holds(read, answer.tags)
}

/** `loading`: callers wait. `answered`: they have had a first answer, the load goes on. `settled`: no more answers; it is not joined any more. */
export type FlightState = { readonly is: 'loading' } | { readonly is: 'answered'; readonly answer: Answer } | { readonly is: 'settled' }

interface Caller {
  readonly arrival: Arrival
  resolve(answer: Answer | undefined): void
  reject(error: unknown): void
}

const loading: FlightState = { is: 'loading' }
const settled: FlightState = { is: 'settled' }

/** One load of one key, shared by everyone who asks meanwhile. Ends early only when every caller has gone. */
export class Flight {
  readonly pending: Pending
  /** Known so far: given by the first caller, added by the factory or by what l2 holds. */
  tags: readonly string[]
  readonly run: FactoryRun
  state: FlightState = loading
  /** Worth finishing without callers: the refresh behind a copy. */
  background = false
  readonly #generations: Generations
  #callers: Caller[] = []

  constructor(generations: Generations, key: string, run: FactoryRun, tags: readonly string[]) {
    this.#generations = generations
    this.pending = generations.begin(key)
    this.run = run
    this.tags = tags
  }

  get key(): string {
    return this.pending.key
  }

  tag(name: string): void {
    if (!this.tags.includes(name)) this.tags = [...this.tags, name]
  }

  /** Has an invalidation reached what it reads? Then nobody joins it any more. */
  get overtaken(): boolean {
    return !this.#generations.holds(this.pending, this.tags)
  }

  mayHave(answer: Answer, arrival: Arrival): boolean {
    return mayHave(this.#generations, this.pending, answer, arrival)
  }

  /** Undefined: the answer is not for this caller; he has to ask again. */
  join(arrival: Arrival, signal: AbortSignal | undefined): Promise<Answer | undefined> {
    return new Promise((resolve, reject) => {
      if (!signal) return void this.#callers.push({ arrival, resolve, reject })
      const onAbort = (): void => {
        this.#callers.splice(this.#callers.indexOf(caller), 1)
        reject(signal.reason as Error)
        if (this.#callers.length === 0 && !this.background && this.state.is === 'loading') this.run.abandon(this, signal.reason)
      }
      const leave = (): void => signal.removeEventListener('abort', onAbort)
      const caller: Caller = {
        arrival,
        resolve: (answer) => {
          leave()
          resolve(answer)
        },
        reject: (error) => {
          leave()
          reject(error as Error)
        },
      }
      this.#callers.push(caller)
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** The load goes on behind it. */
  answer(answer: Answer): void {
    if (this.state.is !== 'loading') return
    this.state = { is: 'answered', answer }
    this.#give(answer)
  }

  settle(answer: Answer): void {
    if (this.state.is === 'settled') return
    this.state = settled
    this.#give(answer)
  }

  fail(error: unknown): void {
    if (this.state.is === 'settled') return
    this.state = settled
    for (const caller of this.#leaving()) caller.reject(error)
  }

  #give(answer: Answer): void {
    for (const caller of this.#leaving()) caller.resolve(this.mayHave(answer, caller.arrival) ? answer : undefined)
  }

  #leaving(): readonly Caller[] {
    const callers = this.#callers
    this.#callers = []
    return callers
  }
}
