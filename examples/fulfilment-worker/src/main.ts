import { orderPlaced, queueDriver } from '@film-store/film-contracts'
import { createDbPool } from '@platform/db-pool'
import { createHealth } from '@platform/health'
import { createLogger } from '@platform/logger'
import { createBroker, createInbox, createOutbox } from '@platform/queue'
import { component, createService } from '@platform/service'
import { startTelemetry } from '@platform/telemetry'
import { loadSettings } from './config.ts'
import { fulfil } from './fulfil.ts'

const config = await loadSettings()
const { current } = config

const logger = createLogger({ name: 'fulfilment-worker', level: current.logLevel, redact: { values: () => config.secrets() } })
const telemetry = startTelemetry({ service: 'fulfilment-worker', instance: current.instance, sampling: { ratio: current.sampling } })
const db = createDbPool({ url: current.db.url.reveal(), maxSize: current.db.maxSize, applicationName: 'fulfilment-worker', logger })
const broker = createBroker({
  driver: queueDriver(current.queue),
  service: 'fulfilment-worker',
  inbound: [telemetry.inbound],
  outbound: [telemetry.outbound],
  logger,
})
const outbox = createOutbox({ db, broker })
const inbox = createInbox({ db })

const orders = broker.consumer(
  orderPlaced,
  async ({ body }, { tx }) => {
    const outcome = await fulfil(tx!, outbox, body)
    logger.debug({ orderId: body.orderId, outcome }, 'order handled')
  },
  { group: 'fulfilment', concurrency: current.concurrency, ordered: true, retry: { maxAttempts: 10 }, inbox },
)

await createService({
  name: 'fulfilment-worker',
  components: {
    config,
    telemetry,
    db,
    broker,
    outbox: component(outbox, { needs: ['db', 'broker'] }),
    orders: component(orders, { needs: ['db', 'broker', 'outbox'] }),
  },
  health: createHealth({ checks: { db: { run: (options) => db.check!(options), kind: 'shared' } }, logger }),
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, metrics: (request) => telemetry.metrics(request) },
  logger,
}).run()
