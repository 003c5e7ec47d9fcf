import { readFilms } from '@film-store/film-contracts'
import type { SearchView } from '@film-store/shopper'
import { startPostgres } from '@platform/stack'
import { expect, it } from 'vitest'
import { withClient } from '../databases.ts'
import { searchesRight } from './searches.ts'

const { films } = await readFilms()
const words = [...new Set(films.map(({ title }) => title.split(/\s+/)[0]!))]

it.each(['embedded', 'machine'] as const)(
  'agrees with PostgreSQL on every word that a customer may search for: %s',
  { timeout: 120_000 },
  async (source) => {
    await using server = await startPostgres({ fresh: true, source })
    const searches = await withClient(server.url, async (client) => {
      await client.query(`create table films as select id, title, "releasedOn", votes, "priceCents", to_tsvector('simple', title) as words
      from jsonb_to_recordset('${JSON.stringify(films).replaceAll("'", "''")}'::jsonb) as f (id int, title text, "releasedOn" text, votes int, "priceCents" int)`)
      const found: SearchView[] = []
      for (const word of words) {
        const { rows } = await client.query<object>(
          `select id, title, "releasedOn", "priceCents" from films where words @@ plainto_tsquery('simple', $1) order by votes desc, id limit 20`,
          [word],
        )
        found.push({ word, answer: { films: rows } })
      }
      return found
    })
    expect(searches.length).toBeGreaterThan(1_000)
    expect(searchesRight(searches, films).faults).toEqual([])
  },
)
