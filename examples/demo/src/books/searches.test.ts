import { type Film, readFilms } from '@film-store/film-contracts'
import type { SearchView } from '@film-store/shopper'
import { expect, it } from 'vitest'
import { searchesRight } from './searches.ts'

const { films } = await readFilms()
const found = (word: string, of: readonly Film[]): SearchView => {
  const ordered = of.toSorted((a, b) => b.votes - a.votes || a.id - b.id).slice(0, 20)
  return {
    word,
    answer: { films: ordered.map(({ id, title, releasedOn, priceCents }) => ({ id, title, releasedOn, priceCents })) },
  } as never
}
const titled = (...titles: string[]) => films.filter(({ title }) => titles.includes(title))

it('leaves to PostgreSQL whether a raised digit is a sign or a part of its word', () => {
  for (const answer of [titled('Alien³'), titled('Alien³', 'Alien'), []]) {
    expect(searchesRight([found('Alien³', answer)], films).faults).toEqual([])
  }
  expect(searchesRight([found('Alien³', titled('The Matrix'))], films).faults).toHaveLength(1)
  expect(searchesRight([found('Matrix', titled('Alien³'))], films).faults).toHaveLength(1)
})
