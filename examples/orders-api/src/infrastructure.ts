/** What the order desk connects to. */
import { accessLog, queueDriver } from '@film-store/film-contracts'
import { release } from '@film-store/film-contracts/release'
import { type Config, pinnedHook } from '@platform/config'
import { createDbPool, toTypeOrmDriver } from '@platform/db-pool'
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { staticInstances } from '@platform/discovery/static'
import { createLogger, createRedactor, logContextHook } from '@platform/logger'
import { createBroker, createInbox, createOutbox } from '@platform/queue'
import { deadlineHeaders, deadlineHook } from '@platform/resilience'
import type { InboundHook } from '@platform/service/http'
import { startTelemetry } from '@platform/telemetry'
import { DataSource } from 'typeorm'
import type { Settings } from './config.ts'
import { Order } from './order.entity.ts'

const name = 'orders-api'

export function connect(config: Config<Settings>) {
  const { current } = config
  const { instance } = current
  const logger = createLogger({
    name,
    version: release(),
    level: current.logLevel,
    format: current.logFormat,
    redact: { values: () => config.secrets() },
  }).child({ instance })
  const telemetry = startTelemetry({
    service: name,
    instance,
    sampling: { ratio: current.sampling },
    redactor: createRedactor({ values: () => config.secrets() }),
  })
  const db = createDbPool({ url: current.db.url.reveal(), maxSize: current.db.maxSize, applicationName: name, logger })
  const source = new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db), entities: [Order] })
  /** TypeORM's own start and stop; the pool beneath it is a component of its own. */
  const orm = { ready: async () => void (await source.initialize()), close: () => source.destroy() }
  const broker = createBroker({
    driver: queueDriver(current.queue),
    service: name,
    inbound: [telemetry.inbound],
    outbound: [telemetry.outbound],
    logger,
  })
  const discovery = createDiscovery({
    registry: current.consulUrl
      ? consul({ url: current.consulUrl, token: current.consulToken?.reveal() })
      : staticInstances({ 'catalog-api': current.catalog.urls }),
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
  const inbound: InboundHook[] = [
    telemetry.inbound,
    logContextHook,
    ...(current.accessLog ? [accessLog(logger)] : []),
    deadlineHook,
    pinnedHook(config),
  ]
  const [outbox, inbox] = [createOutbox({ db, broker }), createInbox({ db })]
  return { logger, telemetry, db, source, orm, broker, outbox, inbox, discovery, catalog, inbound }
}
