import type { SharedRead } from './driver.ts'
import type { LocalEntry } from './entry.ts'
import type { Generations } from './generations.ts'
import type { Lifetimes } from './lifetimes.ts'
import type { Sent } from './questions.ts'
import type { Answer, Flight } from './single-flight.ts'

/** A copy that may be served in place of what is being loaded. Times are `performance.now()`. */
export interface StandIn {
  readonly value: unknown
  readonly tags: readonly string[]
  readonly freshUntil: number
  /** Until here it is served at once, while the load goes on. */
  readonly revalidateUntil: number
  /** Until here it is served when the load is slow or fails. */
  readonly errorUntil: number
  /** The turn in which l2 vouched for it; infinite for a copy of l1. */
  readonly turn: number
  /** When l2 vouched for it. */
  readonly vouchedAt: number
  /** l2 holds it as well: when l2 says that it is gone, it is. */
  readonly shared: boolean
}

export function standInOf(entry: LocalEntry, generations: Generations): StandIn {
  const { value, freshUntil, revalidateUntil, errorUntil, shared } = entry
  const trusted = entry.epoch === generations.epoch
  return {
    value,
    freshUntil: trusted ? freshUntil : 0,
    tags: entry.tags.map((tag) => tag.name),
    revalidateUntil: trusted ? revalidateUntil : 0,
    errorUntil,
    turn: Number.POSITIVE_INFINITY,
    vouchedAt: performance.now(),
    shared,
  }
}

/** What l2 holds. */
export function standInFrom(
  value: unknown,
  { tags, freshMs }: SharedRead,
  { turn, at }: Sent,
  { revalidateMs, errorMs }: Lifetimes,
): StandIn {
  const freshUntil = performance.now() + freshMs
  return {
    value,
    tags,
    freshUntil,
    revalidateUntil: freshUntil + revalidateMs,
    errorUntil: freshUntil + errorMs,
    turn,
    vouchedAt: at,
    shared: true,
  }
}

export function usableUntil(standIn: StandIn): number {
  return Math.max(standIn.freshUntil, standIn.revalidateUntil, standIn.errorUntil)
}

function answerOf(standIn: StandIn, until: number): Answer {
  const { value, tags, turn } = standIn
  return { kind: 'stale', value, tags, turn, until }
}

/** First answers of flights whose load goes on. */
export function serveStale(generations: Generations, flight: Flight, standIn: StandIn, until: number): void {
  if (flight.state.is !== 'loading' || performance.now() >= until || !generations.holds(flight.pending, standIn.tags)) return
  flight.answer(answerOf(standIn, until))
}

/** The last answer, where the load has failed or is another process's. */
export function endWithStale(flight: Flight, standIn: StandIn): void {
  flight.settle(answerOf(standIn, usableUntil(standIn)))
}
