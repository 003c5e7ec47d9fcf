/** What the catalog connects to. */
import { accessLog, queueDriver } from '@film-store/film-contracts'
import { release } from '@film-store/film-contracts/release'
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { postgresBus } from '@platform/cache/postgres'
import { redis, redisBus } from '@platform/cache/redis'
import { type Config, pinnedHook } from '@platform/config'
import { createDbPool } from '@platform/db-pool'
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { staticInstances } from '@platform/discovery/static'
import { createLogger, createRedactor, logContextHook } from '@platform/logger'
import { createBroker } from '@platform/queue'
import { deadlineHook } from '@platform/resilience'
import type { InboundHook } from '@platform/service/http'
import { startTelemetry } from '@platform/telemetry'
import type { Settings } from './config.ts'
import { redisConnection } from './redis-connection.ts'

const name = 'catalog-api'

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
  const connection = redisConnection(current.cache)
  const cache = createCache({
    namespace: 'catalog',
    l1: memory({ maxBytes: 64e6 }),
    ...(connection ? { l2: redis(connection), bus: redisBus(connection) } : { bus: postgresBus({ db }) }),
    intents: { db },
    ttlMs: current.cache.ttlMs,
    logger,
  })
  const broker = createBroker({ driver: queueDriver(current.queue), service: name, inbound: [telemetry.inbound], logger })
  const discovery = createDiscovery({
    registry: current.consulUrl ? consul({ url: current.consulUrl, token: current.consulToken?.reveal() }) : staticInstances({}),
    logger,
  })
  const inbound: InboundHook[] = [
    telemetry.inbound,
    logContextHook,
    ...(current.accessLog ? [accessLog(logger)] : []),
    deadlineHook,
    pinnedHook(config),
  ]
  const client = connection && 'client' in connection ? connection.client : undefined
  /** Lent to the cache and its bus, which leave it open. */
  const redisGroup = client && { ready: () => Promise.resolve(), close: () => Promise.resolve(client.disconnect()) }
  return { logger, telemetry, db, cache, redisGroup, broker, discovery, inbound }
}
