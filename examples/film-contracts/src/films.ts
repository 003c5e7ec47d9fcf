import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

export interface Film {
  /** The film's place in the source, from 1: stable, so that every database and every run agree. */
  readonly id: number
  readonly title: string
  readonly releasedOn: string | null
  readonly genre: string | null
  readonly director: string | null
  readonly rating: number | null
  /** How many people voted on it: its weight in the traffic. At least 1. */
  readonly votes: number
  readonly priceCents: number
  readonly stock: number
}

export interface RawFilm {
  readonly [field: string]: unknown
}

/** What cleaning did: every film that was dropped or changed is counted under its reason. */
export interface CleaningReport {
  readonly read: number
  readonly kept: number
  readonly dropped: Readonly<Record<string, number>>
  readonly repaired: Readonly<Record<string, number>>
}

/** The films of vega-datasets (`data/movies.json`), cleaned. */
export async function readFilms(): Promise<{ films: Film[]; report: CleaningReport }> {
  const entry = import.meta.resolve('vega-datasets')
  const raw = await readFile(fileURLToPath(new URL('../data/movies.json', entry)), 'utf8')
  return cleanFilms(JSON.parse(raw) as RawFilm[])
}

export function cleanFilms(raw: readonly RawFilm[]): { films: Film[]; report: CleaningReport } {
  const dropped: Record<string, number> = {}
  const repaired: Record<string, number> = {}
  const count = (tally: Record<string, number>, reason: string) => {
    tally[reason] = (tally[reason] ?? 0) + 1
  }
  const kept = new Map<string, Film>()

  raw.forEach((source, index) => {
    const title = cleanTitle(source['Title'])
    if (title === undefined) return count(dropped, 'no title')
    if (typeof source['Title'] === 'number') count(repaired, 'title was a number')

    const date = cleanDate(source['Release Date'])
    if (date.repair) count(repaired, date.repair)

    const film = describe(index + 1, title, date.value, source)
    const key = `${title.toLowerCase()}|${film.releasedOn}`
    const twin = kept.get(key)
    if (twin) count(dropped, 'duplicate title and date')
    if (!twin || twin.votes < film.votes) kept.set(key, film)
  })

  const films = [...kept.values()].sort((a, b) => a.id - b.id)
  return { films, report: { read: raw.length, kept: films.length, dropped, repaired } }
}

function cleanTitle(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value)
  if (typeof value !== 'string' || value.trim() === '') return undefined
  return value.trim()
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
/** The data was collected in 2011: a later year is a two-digit year read into the wrong century. */
const collectedIn = 2011

/** Accepts `Jun 12 1998`, `12-Jun-98` and `1998-06-12`; anything else is no date. */
function cleanDate(value: unknown): { value: string | null; repair?: string } {
  const text = String(value).trim()
  const parts =
    /^(?<month>[A-Z][a-z]{2}) (?<day>\d{1,2}) (?<year>\d{4})$/.exec(text)?.groups ??
    /^(?<day>\d{1,2})-(?<month>[A-Z][a-z]{2})-(?<year>\d{2})$/.exec(text)?.groups ??
    /^(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})/.exec(text)?.groups
  if (!parts) return { value: null, repair: 'release date unreadable' }

  const month = /^\d+$/.test(parts['month']!) ? Number(parts['month']) : months.indexOf(parts['month']!) + 1
  const shortYear = parts['year']!.length === 2
  let year = Number(parts['year']) + (shortYear ? 2000 : 0)
  const wrongCentury = year > collectedIn
  if (wrongCentury) year -= 100

  const date = new Date(Date.UTC(year, month - 1, Number(parts['day'])))
  if (month < 1 || date.getUTCMonth() !== month - 1) return { value: null, repair: 'release date unreadable' }
  const iso = date.toISOString().slice(0, 10)
  return wrongCentury && !shortYear ? { value: iso, repair: 'release date in the wrong century' } : { value: iso }
}

/** Price and stock come from the film's own figures: well rated films cost more, successful ones are stocked higher. */
function describe(id: number, title: string, releasedOn: string | null, source: RawFilm): Film {
  const rating = number(source['IMDB Rating'])
  const votes = Math.max(1, number(source['IMDB Votes']) ?? 1)
  const gross = Math.max(0, number(source['Worldwide Gross']) ?? 0)
  return {
    id,
    title,
    releasedOn,
    genre: text(source['Major Genre']),
    director: text(source['Director']),
    rating,
    votes,
    priceCents: 499 + Math.round((rating ?? 5) * 100),
    stock: 2 + Math.floor(gross / 20_000_000),
  }
}

const number = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null)
const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)
