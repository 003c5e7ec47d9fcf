/** Film pages and search; their stock follows what fulfilment announces. */
import { stockChanged } from '@film-store/film-contracts'
import { tlsOf } from '@film-store/film-contracts/certificate'
import { openShop } from '@film-store/film-contracts/shop'
import { component, createService } from '@platform/service'
import { httpServer } from '@platform/service/http'
import { announce } from './announce.ts'
import { buildApp } from './app.ts'
import { loadSettings } from './config.ts'
import { createFilms } from './films.ts'
import { connect } from './infrastructure.ts'

const config = await loadSettings()
const { current } = config
const { logger, telemetry, db, cache, redisGroup, broker, discovery, inbound } = connect(config)

const films = createFilms({ db, cache })
const tls = tlsOf(current.certificate)
const app = buildApp({ films, shop: await openShop(config), inbound, secure: 'tls' in tls, logger })
await app.ready()
const { port, host, minDrainMs } = current.http
const http = httpServer(app.server, { port, host, minDrainMs, ...tls, logger })

const applyStock = ({ body }: { body: Parameters<typeof films.applyStock>[0] }) => films.applyStock(body)
/** Every instance drops its pages at once … */
const pages = broker.consumer(stockChanged, applyStock, { group: 'broadcast', concurrency: 8 })
/** … and the group sees to it that the projection gets each change, even if no instance was up. */
const projection = broker.consumer(stockChanged, applyStock, { group: 'catalog', concurrency: 8, retry: { maxAttempts: 10 } })

await createService({
  name: 'catalog-api',
  components: {
    config: component(config, { check: 'optional' }),
    telemetry,
    db: component(db, { check: 'shared' }),
    ...(redisGroup && { redisGroup }),
    cache: component(cache, { needs: redisGroup ? ['db', 'redisGroup'] : ['db'] }),
    broker,
    discovery,
    pages: component(pages, { needs: ['broker', 'cache'] }),
    projection: component(projection, { needs: ['broker', 'cache'] }),
    http: component(http, { needs: ['cache', 'pages', 'projection'] }),
    ...(current.consulUrl && { registration: component(announce(discovery, current), { needs: ['http', 'discovery'] }) }),
  },
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, ...tls },
  logger,
}).run()
