/**
 * What a search must find, from the source alone. How PostgreSQL cuts a title into words is its own affair where signs stand inside of one, so
 * films are of three kinds: those that must be found, those that may be, and all others, which must not.
 */
import type { Film } from '@film-store/film-contracts'
import type { SearchView } from '@film-store/shopper'
import type { Findings } from './entry.ts'

/** The store's default. */
const limit = 20

/** What else is a letter or a figure depends on PostgreSQL's locale: in some, "Alien³" is found by "alien". */
const runsOf = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? []
/** Words that stand between spaces, with signs at most around them. */
const plainWords = (title: string): string[] =>
  title
    .toLowerCase()
    .split(/\s+/)
    .map((word) => word.replaceAll(/^[("']+|[)"'!?,.:;]+$/g, ''))
    .filter((word) => /^[a-z0-9]+$/.test(word))

export interface Index {
  readonly films: readonly Film[]
  readonly runs: readonly (readonly string[])[]
  readonly words: readonly ReadonlySet<string>[]
}

function index(films: readonly Film[]): Index {
  return { films, runs: films.map(({ title }) => runsOf(title)), words: films.map(({ title }) => new Set(plainWords(title))) }
}

interface Expected {
  readonly must: readonly Film[]
  readonly may: ReadonlySet<number>
}

function expected({ films, runs, words }: Index, query: string): Expected {
  const parts = runsOf(query)
  const plain = plainWords(query)
  const may = new Set<number>()
  const must: Film[] = []
  films.forEach((film, at) => {
    if (parts.every((part) => runs[at]!.some((run) => run.includes(part)))) may.add(film.id)
    if (plain.length === 1 && parts.length === 1 && words[at]!.has(plain[0]!)) must.push(film)
  })
  return { must, may }
}

const comesBefore = (a: Film, b: Film) => b.votes - a.votes || a.id - b.id

function searchFault({ word, answer }: SearchView, byId: ReadonlyMap<number, Film>, { must, may }: Expected): string | undefined {
  const shown = (answer as { films?: unknown } | null | undefined)?.films
  if (!Array.isArray(shown)) return `a search for "${word}" has no content`
  const found: Film[] = []
  for (const row of shown as Record<string, unknown>[]) {
    const film = byId.get(row['id'] as number)
    if (film === undefined || !may.has(film.id)) return `a search for "${word}" finds film ${String(row['id'])}`
    if (row['title'] !== film.title || row['releasedOn'] !== film.releasedOn || row['priceCents'] !== film.priceCents) {
      return `a search for "${word}" shows film ${film.id} as another`
    }
    if (found.length > 0 && comesBefore(found.at(-1)!, film) >= 0) return `a search for "${word}" is out of order at film ${film.id}`
    found.push(film)
  }
  const last = found.length >= limit ? found.at(-1) : undefined
  const missed = must.find((film) => !found.includes(film) && (last === undefined || comesBefore(film, last) < 0))
  return missed && `a search for "${word}" does not find film ${missed.id}, "${missed.title}"`
}

export function searchesRight(searches: readonly SearchView[], films: readonly Film[]): Findings {
  const source = index(films)
  const byId = new Map(films.map((film) => [film.id, film]))
  const answers = new Map<string, Expected>()
  const faults = searches.flatMap((search) => {
    const known = answers.get(search.word) ?? expected(source, search.word)
    answers.set(search.word, known)
    return searchFault(search, byId, known) ?? []
  })
  return { faults, detail: `${searches.length} searches` }
}
