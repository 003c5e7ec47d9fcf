import 'reflect-metadata'
import { queueDriver } from '@film-store/film-contracts'
import { openShop } from '@film-store/film-contracts/shop'
import { NestFactory } from '@nestjs/core'
import { pinnedHook } from '@platform/config'
import { createDbPool, toTypeOrmDriver } from '@platform/db-pool'
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { staticInstances } from '@platform/discovery/static'
import { createHealth } from '@platform/health'
import { createLogger, logContextHook } from '@platform/logger'
import { nestLogger } from '@platform/nestjs'
import { nestHttp } from '@platform/nestjs/http'
import { createBroker, createInbox, createOutbox } from '@platform/queue'
import { deadlineHeaders, deadlineHook } from '@platform/resilience'
import { component, createService } from '@platform/service'
import { startTelemetry } from '@platform/telemetry'
import { DataSource } from 'typeorm'
import { AppModule } from './app.module.ts'
import { loadSettings } from './config.ts'
import { Order } from './order.entity.ts'
import { Prices } from './prices.ts'
import { settleOrders } from './settlement.ts'

const config = await loadSettings()
const { current } = config

const logger = createLogger({ name: 'orders-api', level: current.logLevel, redact: { values: () => config.secrets() } })
const telemetry = startTelemetry({ service: 'orders-api', instance: current.instance, sampling: { ratio: current.sampling } })
const db = createDbPool({ url: current.db.url.reveal(), maxSize: current.db.maxSize, applicationName: 'orders-api', logger })
const source = new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db), entities: [Order] })

const broker = createBroker({
  driver: queueDriver(current.queue),
  service: 'orders-api',
  inbound: [telemetry.inbound],
  outbound: [telemetry.outbound],
  logger,
})
const outbox = createOutbox({ db, broker })
const inbox = createInbox({ db })

const discovery = createDiscovery({
  registry: current.consulUrl ? consul({ url: current.consulUrl }) : staticInstances({ 'catalog-api': current.catalog.urls }),
  logger,
})
const catalog = discovery.client('catalog-api', {
  policy: {
    timeoutMs: current.catalog.timeoutMs,
    attemptTimeoutMs: current.catalog.timeoutMs / 2,
    retry: { maxAttempts: 3, initialDelayMs: 20, maxDelayMs: 200 },
    breaker: { failureRatio: 0.5, minimumThroughput: 20, breakDurationMs: 1_000 },
  },
  outbound: [telemetry.outbound, deadlineHeaders],
})

const app = await NestFactory.create(
  AppModule.with({ source, prices: new Prices(catalog), shop: await openShop(config), outbox, logger }),
  {
    logger: nestLogger(logger),
    abortOnError: false,
  },
)
const http = nestHttp(app, { ...current.http, inbound: [telemetry.inbound, logContextHook, deadlineHook, pinnedHook(config)], logger })

/** TypeORM's own start and stop; the pool beneath it is a component of its own. */
const orm = {
  ready: async () => void (await source.initialize()),
  close: () => source.destroy(),
}
const [fulfilled, rejected] = settleOrders(broker, inbox)

await createService({
  name: 'orders-api',
  components: {
    config,
    telemetry,
    db,
    broker,
    discovery,
    outbox: component(outbox, { needs: ['db', 'broker'] }),
    catalog,
    orm: component(orm, { needs: ['db'] }),
    fulfilled: component(fulfilled, { needs: ['db', 'broker'] }),
    rejected: component(rejected, { needs: ['db', 'broker'] }),
    http: component(http, { needs: ['orm', 'outbox', 'catalog'] }),
  },
  health: createHealth({
    checks: {
      db: { run: (options) => db.check!(options), kind: 'shared' },
      config: { run: (options) => config.check(options), kind: 'optional' },
    },
    logger,
  }),
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, metrics: (request) => telemetry.metrics(request) },
  logger,
}).run()
