/** Takes the stock for every order that was placed, in the order of placing, film by film. */
import { orderPlaced } from '@film-store/film-contracts'
import { tlsOf } from '@film-store/film-contracts/certificate'
import { component, createService } from '@platform/service'
import { loadSettings } from './config.ts'
import { fulfil } from './fulfil.ts'
import { connect } from './infrastructure.ts'

const config = await loadSettings()
const { current } = config
const { logger, telemetry, db, broker, outbox, inbox } = connect(config)

const orders = broker.consumer(
  orderPlaced,
  async ({ body }, { tx }) => {
    const outcome = await fulfil(tx, outbox, body)
    logger.debug({ orderId: body.orderId, outcome }, 'order handled')
  },
  { group: 'fulfilment', concurrency: current.concurrency, ordered: true, retry: { maxAttempts: 10 }, inbox },
)

await createService({
  name: 'fulfilment-worker',
  components: {
    config,
    telemetry,
    db: component(db, { check: 'shared' }),
    broker,
    outbox: component(outbox, { needs: ['db', 'broker'] }),
    orders: component(orders, { needs: ['db', 'broker', 'outbox'] }),
  },
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, ...tlsOf(current.certificate) },
  logger,
}).run()
