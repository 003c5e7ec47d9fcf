import { queueDriver, stockChanged } from '@film-store/film-contracts'
import { openShop } from '@film-store/film-contracts/shop'
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { postgresBus } from '@platform/cache/postgres'
import { redis, redisBus } from '@platform/cache/redis'
import { createDbPool } from '@platform/db-pool'
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { staticInstances } from '@platform/discovery/static'
import { createHealth } from '@platform/health'
import { createLogger, logContextHook } from '@platform/logger'
import { pinnedHook } from '@platform/config'
import { createBroker } from '@platform/queue'
import { deadlineHook } from '@platform/resilience'
import { component, createService } from '@platform/service'
import { httpServer } from '@platform/service/http'
import { startTelemetry } from '@platform/telemetry'
import { announce } from './announce.ts'
import { buildApp } from './app.ts'
import { loadSettings } from './config.ts'
import { createFilms } from './films.ts'

const config = await loadSettings()
const { current } = config

const logger = createLogger({ name: 'catalog-api', level: current.logLevel, redact: { values: () => config.secrets() } })
const telemetry = startTelemetry({ service: 'catalog-api', instance: current.instance, sampling: { ratio: current.sampling } })
const db = createDbPool({ url: current.db.url.reveal(), maxSize: current.db.maxSize, applicationName: 'catalog-api', logger })

const { ttlMs } = current.cache
const redisUrl = current.cache.redisUrl?.reveal()
const cache = createCache({
  namespace: 'catalog',
  l1: memory({ maxBytes: 64e6 }),
  ...(redisUrl ? { l2: redis({ url: redisUrl }), bus: redisBus({ url: redisUrl }) } : { bus: postgresBus({ db }) }),
  intents: { db },
  ttlMs,
  logger,
})
const films = createFilms({ db, cache })

const broker = createBroker({ driver: queueDriver(current.queue), service: 'catalog-api', inbound: [telemetry.inbound], logger })
const discovery = createDiscovery({ registry: current.consulUrl ? consul({ url: current.consulUrl }) : staticInstances({}), logger })

const app = buildApp({
  films,
  shop: await openShop(config),
  inbound: [telemetry.inbound, logContextHook, deadlineHook, pinnedHook(config)],
  logger,
})
await app.ready()
const http = httpServer(app.server, { port: current.http.port, host: current.http.host })

/** Every instance drops its pages at once … */
const pages = broker.consumer(stockChanged, ({ body }) => films.applyStock(body), { group: 'broadcast', concurrency: 8 })
/** … and the group sees to it that the projection gets each change, even if no instance was up. */
const projection = broker.consumer(stockChanged, ({ body }) => films.applyStock(body), {
  group: 'catalog',
  concurrency: 8,
  retry: { maxAttempts: 10 },
})

await createService({
  name: 'catalog-api',
  components: {
    config,
    telemetry,
    db,
    cache: component(cache, { needs: ['db'] }),
    broker,
    discovery,
    pages: component(pages, { needs: ['broker', 'cache'] }),
    projection: component(projection, { needs: ['broker', 'cache'] }),
    http: component(http, { needs: ['cache', 'pages', 'projection'] }),
    ...(current.consulUrl && { registration: component(announce(discovery, current), { needs: ['http', 'discovery'] }) }),
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
