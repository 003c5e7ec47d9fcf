import type { Film } from '@film-store/film-contracts'
import type { Cache } from '@platform/cache'
import type { DbPool } from '@platform/db-pool'

export interface FilmPage extends Omit<Film, 'votes'> {
  readonly stockVersion: number
}

export type FilmSummary = Pick<FilmPage, 'id' | 'title' | 'releasedOn' | 'priceCents'>

export interface Films {
  page(id: number): Promise<FilmPage | undefined>
  search(query: string, limit: number): Promise<FilmSummary[]>
  /** Takes over a change of stock, whatever the order of arrival, and drops the pages that show the old one. */
  applyStock(change: { filmId: number; stock: number; version: number }): Promise<void>
}

const tagOf = (id: number) => `film:${id}`

export function createFilms({ db, cache }: { db: DbPool; cache: Cache }): Films {
  const load = async (id: number, signal: AbortSignal): Promise<FilmPage | null> => {
    const { rows } = await db.query<FilmPage>(
      `select id, title, released_on::text as "releasedOn", genre, director, rating,
              price_cents as "priceCents", stock, stock_version as "stockVersion"
         from films where id = $1`,
      [id],
      { signal },
    )
    return rows[0] ?? null
  }

  return {
    async page(id) {
      // Unknown films are remembered too: a crawler that guesses numbers does not reach the database twice.
      const page = await cache.getOrSet(`page:${id}`, (entry) => load(id, entry.signal), { tags: [tagOf(id)] })
      return page ?? undefined
    },

    search(query, limit) {
      return cache.getOrSet(`search:${limit}:${query.toLowerCase()}`, async (entry) => {
        const { rows } = await db.query<FilmSummary>(
          `select id, title, released_on::text as "releasedOn", price_cents as "priceCents"
             from films where words @@ plainto_tsquery('simple', $1)
            order by votes desc, id limit $2`,
          [query, limit],
          { signal: entry.signal },
        )
        return rows
      })
    },

    async applyStock({ filmId, stock, version }) {
      // Every change comes to each instance and to the group: all but the first find it done, its invalidation on the way.
      const { rowCount } = await db.query('select 1 from films where id = $1 and stock_version < $2', [filmId, version])
      if (rowCount === 0) return
      await db.transaction(async (tx) => {
        const updated = await tx.query('update films set stock = $2, stock_version = $3 where id = $1 and stock_version < $3', [
          filmId,
          stock,
          version,
        ])
        if (updated.rowCount > 0) cache.invalidateAfterCommit(tx, { tags: [tagOf(filmId)] })
      })
    },
  }
}
