/** Brings the database up to date and fills the shelves; both can be repeated. */
import { fileURLToPath } from 'node:url'
import { readFilms } from '@film-store/film-contracts'
import { createDbPool, migrate } from '@platform/db-pool'
import { createLogger } from '@platform/logger'
import { loadSettings } from './config.ts'

const { current } = await loadSettings()
const logger = createLogger({ name: 'fulfilment-migrate' })
const db = createDbPool({ url: current.db.url.reveal(), maxSize: 2, logger })
try {
  const { applied } = await migrate(db, { directory: fileURLToPath(new URL('../migrations', import.meta.url)) })
  const { films } = await readFilms()
  const { rowCount } = await db.query(
    `insert into stock (film_id, seeded, remaining)
     select id, stock, stock from jsonb_to_recordset($1::jsonb) as f (id int, stock int)
     on conflict (film_id) do nothing`,
    [JSON.stringify(films)],
  )
  logger.info({ applied, stocked: rowCount }, 'stock is ready')
} finally {
  await db.close()
  await logger.close()
}
