import type { Departure } from './departure.ts'
import type { FactoryRun } from './factory-run.ts'
import type { Generations, Pending } from './generations.ts'

/** A value together with what decides who may have it. */
export interface Answer {
  readonly kind: 'hit' | 'miss' | 'stale'
  readonly value: unknown
  /** The tags of what was read; a change of one of them voids the answer. */
  readonly tags: Iterable<string>
  /** The turn in which l2 last vouched for it, or in which its source was about to be read; infinite for a copy of l1. */
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
  readonly run: FactoryRun
  state: FlightState = loading
  /** Worth finishing without callers: the refresh behind a copy. */
  background = false
  readonly #generations: Generations
  #callers = new Set<Caller>()
  /** Undefined: to be made of the set. */
  #tags: readonly string[] | undefined
  #tagSet: Set<string> | undefined

  constructor(generations: Generations, key: string, run: FactoryRun, tags: readonly string[]) {
    this.#generations = generations
    this.pending = generations.begin(key)
    this.run = run
    this.#tags = tags
  }

  get key(): string {
    return this.pending.key
  }

  /** Known so far: given by the first caller, added by the factory or by what l2 holds. A list that has been given out stays as it was. */
  get tags(): readonly string[] {
    this.#tags ??= [...(this.#tagSet as Set<string>)]
    return this.#tags
  }

  tag(name: string): void {
    this.#tagSet ??= new Set(this.#tags)
    if (this.#tagSet.has(name)) return
    this.#tagSet.add(name)
    this.#tags = undefined
  }

  /** Has an invalidation reached what it reads? Then nobody joins it any more. */
  get overtaken(): boolean {
    return !this.#generations.holds(this.pending, this.tags)
  }

  mayHave(answer: Answer, arrival: Arrival): boolean {
    return mayHave(this.#generations, this.pending, answer, arrival)
  }

  /** Undefined: the answer is not for this caller; he has to ask again. */
  join(arrival: Arrival, departure: Departure | undefined): Promise<Answer | undefined> {
    return new Promise((resolve, reject) => {
      if (!departure) return void this.#callers.add({ arrival, resolve, reject })
      const leave = (): void => {
        const { reason } = departure.signal
        this.#callers.delete(caller)
        reject(reason as Error)
        if (this.#callers.size === 0 && !this.background && this.state.is === 'loading') this.run.abandon(this, reason)
      }
      const caller: Caller = {
        arrival,
        resolve: (answer) => {
          departure.off(leave)
          resolve(answer)
        },
        reject: (error) => {
          departure.off(leave)
          reject(error as Error)
        },
      }
      this.#callers.add(caller)
      departure.on(leave)
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

  #leaving(): Iterable<Caller> {
    const callers = this.#callers
    this.#callers = new Set()
    return callers
  }
}
