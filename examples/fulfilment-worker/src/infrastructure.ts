/** What fulfilment connects to. */
import { queueDriver } from '@film-store/film-contracts'
import { release } from '@film-store/film-contracts/release'
import type { Config } from '@platform/config'
import { createDbPool } from '@platform/db-pool'
import { createLogger, createRedactor } from '@platform/logger'
import { createBroker, createInbox, createOutbox } from '@platform/queue'
import { startTelemetry } from '@platform/telemetry'
import type { Settings } from './config.ts'

const name = 'fulfilment-worker'

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
  const broker = createBroker({
    driver: queueDriver(current.queue),
    service: name,
    inbound: [telemetry.inbound],
    outbound: [telemetry.outbound],
    logger,
  })
  return { logger, telemetry, db, broker, outbox: createOutbox({ db, broker }), inbox: createInbox({ db }) }
}
