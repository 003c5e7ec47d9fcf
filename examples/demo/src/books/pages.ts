import type { Film } from '@film-store/film-contracts'
import type { PageView } from '@film-store/shopper'
import type { Findings } from './entry.ts'
import type { Ledger } from './ledger.ts'
import type { FilmStory, Model } from './model.ts'

/** What a page and the catalog take from the source as it is. */
const fromSource = ['title', 'releasedOn', 'genre', 'director', 'rating', 'priceCents'] as const satisfies (keyof Film)[]

function differsFrom(film: Film, shown: Readonly<Record<string, unknown>>): string | undefined {
  return fromSource.find((field) => shown[field] !== film[field])
}

export function catalogRight({ projection }: Pick<Ledger, 'projection'>, model: Model): Findings {
  const faults = [...model.values()].flatMap(({ film, left }) => {
    const row = projection.get(film.id)
    if (row === undefined) return [`film ${film.id} is not in the catalog`]
    const field = differsFrom(film, row as unknown as Record<string, unknown>)
    if (field !== undefined) return [`film ${film.id} has another ${field} in the catalog`]
    const [stock, version] = [left.at(-1)!, left.length - 1]
    return row.stock === stock && row.version === version ? [] : [`film ${film.id}: the catalog says ${row.stock}, and ${stock} are left`]
  })
  const strangers = [...projection.keys()].filter((id) => !model.has(id)).map((id) => `film ${id} is in the catalog and in no source`)
  return { faults: [...faults, ...strangers], detail: `${model.size} films` }
}

/** The clock of the database and the customer's are the same machine's; this is for their rounding. */
const clockSlackMs = 50

function pageFault({ filmId, page, answeredAt }: PageView, story: FilmStory | undefined): string | undefined {
  const shown = page as Record<string, unknown> | null | undefined
  if (typeof shown !== 'object' || shown === null) return `a page of film ${filmId} has no content`
  if (story === undefined || shown['id'] !== filmId) return `a page of film ${filmId} shows film ${String(shown['id'])}`
  const field = differsFrom(story.film, shown)
  if (field !== undefined) return `a page of film ${filmId} has another ${field}`
  const version = shown['stockVersion']
  if (typeof version !== 'number') return `a page of film ${filmId} shows no version of its stock`
  if (story.left[version] === undefined) return `a page of film ${filmId} shows version ${version}, which never was`
  if (shown['stock'] !== story.left[version]) return `a page of film ${filmId} shows the stock of another version than ${version}`
  if (!(answeredAt + clockSlackMs >= story.changedAt[version]!))
    return `a page of film ${filmId} shows version ${version} before it was true`
  return undefined
}

export function pagesRight(views: readonly PageView[], model: Model): Findings {
  const faults = views.map((view) => pageFault(view, model.get(view.filmId))).filter((fault) => fault !== undefined)
  return { faults, detail: `${views.length} pages` }
}

/** A page is too old when the version after the one that it shows had been true for longer than the bound as the page was asked for. */
export function pagesFresh(views: readonly PageView[], model: Model, boundMs: number): Findings {
  let oldestMs = 0
  const faults: string[] = []
  for (const { filmId, page, askedAt } of views) {
    const version = (page as { stockVersion?: unknown } | null | undefined)?.stockVersion
    const replacedAt = typeof version === 'number' ? model.get(filmId)?.changedAt[version + 1] : undefined
    if (replacedAt === undefined) continue // the newest, or none at all, of which another check tells
    const ageMs = askedAt - replacedAt
    oldestMs = Math.max(oldestMs, ageMs)
    if (!(ageMs <= boundMs)) faults.push(`a page of film ${filmId} was ${Math.round(ageMs)} ms behind`)
  }
  return { faults, detail: `${views.length} pages, the oldest ${Math.round(oldestMs)} ms behind` }
}
