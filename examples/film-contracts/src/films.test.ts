import { describe, expect, it } from 'vitest'
import { cleanFilms, readFilms } from './films.ts'

describe('readFilms', () => {
  it('accounts for every film of the source', async () => {
    const { films, report } = await readFilms()
    const dropped = Object.values(report.dropped).reduce((sum, n) => sum + n, 0)
    expect(report).toMatchObject({ read: 3201, kept: films.length, dropped: { 'no title': 1 }, repaired: { 'title was a number': 9 } })
    expect(films.length + dropped).toBe(3201)
    expect(new Set(films.map((film) => film.id)).size).toBe(films.length)
  })

  it('yields only films that can be sold', async () => {
    const { films } = await readFilms()
    for (const film of films) {
      expect(film.title).not.toBe('')
      expect(film.priceCents).toBeGreaterThan(0)
      expect(film.stock).toBeGreaterThan(0)
      expect(film.votes).toBeGreaterThan(0)
      expect((film.releasedOn ?? '2011-12-31') <= '2011-12-31').toBe(true)
    }
  })
})

describe('cleanFilms', () => {
  const dateOf = (value: unknown) => cleanFilms([{ Title: 'A', 'Release Date': value }]).films[0]?.releasedOn

  it('reads the mixed forms of dates', () => {
    expect(dateOf('Jun 12 1998')).toBe('1998-06-12')
    expect(dateOf('12-Jun-98')).toBe('1998-06-12')
    expect(dateOf('1998-06-12')).toBe('1998-06-12')
    expect(dateOf('Dec 31 2046')).toBe('1946-12-31')
    expect(dateOf('Feb 31 1999')).toBeNull()
    expect(dateOf('soon')).toBeNull()
  })

  it('keeps the better known of two copies', () => {
    const copies = [10, 99, 20].map((votes) => ({ Title: 'A', 'Release Date': 'Jun 12 1998', 'IMDB Votes': votes }))
    const { films, report } = cleanFilms(copies)
    expect(films.map((film) => film.votes)).toEqual([99])
    expect(report.dropped).toEqual({ 'duplicate title and date': 2 })
  })
})
