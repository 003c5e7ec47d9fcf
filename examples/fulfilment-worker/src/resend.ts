/** Announces the stock of every film again, for a catalog that missed changes, as after a restore. Can be run at any time: the version decides. */
import { queueDriver, stockChanged } from '@film-store/film-contracts'
import { createDbPool } from '@platform/db-pool'
import { createLogger } from '@platform/logger'
import { createBroker, createOutbox } from '@platform/queue'
import { loadSettings } from './config.ts'

const { current } = await loadSettings()
const logger = createLogger({ name: 'fulfilment-resend' })
await using db = createDbPool({ url: current.db.url.reveal(), maxSize: 3, logger })
await using broker = createBroker({ driver: queueDriver(current.queue), service: 'fulfilment-resend', logger })
await using outbox = createOutbox({ db, broker })
await outbox.ready()

const again = await db.transaction(async (tx) => {
  const { rows } = await tx.query<{ film_id: number; remaining: number; version: number }>(
    'select film_id, remaining, version from stock where version > 0 order by film_id',
  )
  for (const { film_id: filmId, remaining: stock, version } of rows) await outbox.add(tx, stockChanged, { filmId, stock, version })
  return rows.length
})
logger.info({ again }, 'stock is announced again')
