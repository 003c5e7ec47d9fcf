import type { Film } from '@film-store/film-contracts'
import { createRandom, weighted } from './random.ts'

/** One thing that a customer does. */
export type Step =
  | { readonly kind: 'search'; readonly word: string }
  | { readonly kind: 'view'; readonly film: Film }
  | { readonly kind: 'order'; readonly film: Film; readonly key: string; readonly quantity: number }

export interface Visit {
  readonly steps: readonly Step[]
  /** How long the customer looks at what a step showed, whatever the store did meanwhile; the mean is `meanPauseMs`. */
  readonly pausesMs: readonly number[]
}

/** Pages for each order: a conversion of 2.5 %. */
const viewsPerOrder = 40
const meanPauseMs = 50

/** What the customers of a seed do, each by his number: films are drawn by their real votes, one that was seen is ordered. */
export function planVisits(films: readonly Film[], seed: number): (customer: number) => Visit {
  const drawFilm = weighted(films.map((film) => film.votes))
  return (customer) => {
    const random = createRandom(seed * 1_000_003 + customer)
    const steps: Step[] = []
    let seen = films[0]!
    const searchAt = random.below(viewsPerOrder)
    // Some make up their mind at once and look on afterwards: customers who all order after their last view come in waves.
    const orderAt = random.below(viewsPerOrder)
    for (let i = 0; i < viewsPerOrder; i++) {
      if (i === searchAt) steps.push({ kind: 'search', word: films[drawFilm(random)]!.title.split(/\s+/)[0]! })
      const film = films[drawFilm(random)]!
      if (i === 0 || random.next() < 0.2) seen = film
      steps.push({ kind: 'view', film })
      if (i === orderAt) steps.push({ kind: 'order', film: seen, key: random.uuid(), quantity: 1 + random.below(2) })
    }
    return { steps, pausesMs: steps.map(() => random.next() * 2 * meanPauseMs) }
  }
}
