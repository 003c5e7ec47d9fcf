/**
 * What must have become of every film: replayed from the films' source and from what customers ordered, never from what the store was seeded
 * with or says it sold. The store only tells which order came when.
 */
import type { Film } from '@film-store/film-contracts'
import type { AcceptedOrder } from '@film-store/shopper'
import type { Ledger } from './ledger.ts'

export interface FilmStory {
  readonly film: Film
  /** Copies left at each version; version 0 is what the source says. */
  readonly left: readonly number[]
  /** When each version became true; version 0 always was. */
  readonly changedAt: readonly number[]
}

export type Model = ReadonlyMap<number, FilmStory>

export function replay(films: readonly Film[], ledger: Ledger, accepted: readonly AcceptedOrder[]): Model {
  const ordered = new Map(accepted.map((order) => [order.orderId, order]))
  const taken = Map.groupBy(ledger.taken, ({ filmId }) => filmId)
  const history = Map.groupBy(ledger.history, ({ filmId }) => filmId)
  return new Map(
    films.map((film) => {
      const left = [film.stock]
      const lines = (taken.get(film.id) ?? []).toSorted((a, b) => a.version - b.version)
      // What was never ordered takes nothing here, so every stock after it differs from the store's.
      for (const { orderId } of lines) left.push(left.at(-1)! - (ordered.get(orderId)?.quantity ?? 0))
      const changedAt = [-Infinity, ...Array.from({ length: lines.length }, () => Number.NaN)]
      for (const change of history.get(film.id) ?? []) changedAt[change.version] = change.changedAt
      return [film.id, { film, left, changedAt }] as const
    }),
  )
}

/** Copies that were left at this moment. */
export function leftAt({ left, changedAt }: FilmStory, moment: number): number {
  const version = changedAt.findLastIndex((at) => at <= moment)
  return left[Math.min(version, left.length - 1)]!
}
