/**
 * Announces every order again that nobody has settled. A restore brings orders back, but not what was on its way to fulfilment or from there.
 * Can be run at any time, and again: fulfilment takes the stock of an order once, and its word on it counts once.
 */
import { orderPlaced, queueDriver } from '@film-store/film-contracts'
import { createDbPool } from '@platform/db-pool'
import { createLogger } from '@platform/logger'
import { createBroker, createOutbox } from '@platform/queue'
import { loadSettings } from './config.ts'

const { current } = await loadSettings()
const logger = createLogger({ name: 'orders-resend' })
await using db = createDbPool({ url: current.db.url.reveal(), maxSize: 3, logger })
await using broker = createBroker({ driver: queueDriver(current.queue), service: 'orders-resend', logger })
await using outbox = createOutbox({ db, broker })
await outbox.ready()

const again = await db.transaction(async (tx) => {
  const { rows } = await tx.query<{ id: string; film_id: number; quantity: number }>(
    `select id, film_id, quantity from orders where status = 'placed' order by placed_at`,
  )
  for (const { id, film_id: filmId, quantity } of rows) await outbox.add(tx, orderPlaced, { orderId: id, filmId, quantity })
  return rows.length
})
logger.info({ again }, 'unsettled orders are announced again')
