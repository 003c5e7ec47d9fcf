/** Brings the database up to date and stocks it with the films; both can be repeated. */
import { fileURLToPath } from 'node:url'
import { readFilms } from '@film-store/film-contracts'
import { createDbPool, migrate } from '@platform/db-pool'
import { createLogger } from '@platform/logger'
import { loadSettings } from './config.ts'

const { current } = await loadSettings()
const logger = createLogger({ name: 'catalog-migrate' })
const db = createDbPool({ url: current.db.url.reveal(), maxSize: 2, logger })
try {
  const { applied } = await migrate(db, { directory: fileURLToPath(new URL('../migrations', import.meta.url)) })
  const { films, report } = await readFilms()
  const { rowCount } = await db.query(
    `insert into films (id, title, released_on, genre, director, rating, votes, price_cents, stock)
     select id, title, "releasedOn", genre, director, rating, votes, "priceCents", stock
       from jsonb_to_recordset($1::jsonb) as f (id int, title text, "releasedOn" date, genre text, director text,
                                                rating real, votes int, "priceCents" int, stock int)
     on conflict (id) do nothing`,
    [JSON.stringify(films)],
  )
  logger.info({ applied, seeded: rowCount, films: report }, 'catalog is ready')
} finally {
  await db.close()
  await logger.close()
}
