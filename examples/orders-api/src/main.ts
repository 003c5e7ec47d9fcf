/** Takes orders at the catalog's price and settles them by fulfilment's word. */
import 'reflect-metadata'
import { tlsOf } from '@film-store/film-contracts/certificate'
import { openShop } from '@film-store/film-contracts/shop'
import { NestFactory } from '@nestjs/core'
import { nestLogger } from '@platform/nestjs'
import { nestHttp } from '@platform/nestjs/http'
import { component, createService } from '@platform/service'
import { AppModule } from './app.module.ts'
import { loadSettings } from './config.ts'
import { connect } from './infrastructure.ts'
import { Prices } from './prices.ts'
import { settleOrders } from './settlement.ts'

const config = await loadSettings()
const { current } = config
const { logger, telemetry, db, source, orm, broker, outbox, inbox, discovery, catalog, inbound } = connect(config)

const module = AppModule.with({ source, prices: new Prices(catalog), shop: await openShop(config), outbox, logger })
const tls = tlsOf(current.certificate)
const app = await NestFactory.create(module, { logger: nestLogger(logger), abortOnError: false, ...('tls' in tls && { httpsOptions: {} }) })
const http = nestHttp(app, { ...current.http, ...tls, inbound, logger })
const [fulfilled, rejected] = settleOrders(broker, inbox)

await createService({
  name: 'orders-api',
  components: {
    config: component(config, { check: 'optional' }),
    telemetry,
    db: component(db, { check: 'shared' }),
    broker,
    discovery,
    outbox: component(outbox, { needs: ['db', 'broker'] }),
    catalog,
    orm: component(orm, { needs: ['db'] }),
    fulfilled: component(fulfilled, { needs: ['db', 'broker'] }),
    rejected: component(rejected, { needs: ['db', 'broker'] }),
    http: component(http, { needs: ['orm', 'outbox', 'catalog'] }),
  },
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, ...tls },
  logger,
}).run()
