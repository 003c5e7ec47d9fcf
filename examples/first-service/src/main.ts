import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { postgresBus } from '@platform/cache/postgres'
import { defineConfig, env, file, secret } from '@platform/config'
import { createDbPool, migrate } from '@platform/db-pool'
import { createLogger } from '@platform/logger'
import { createBroker, createInbox, createOutbox, defineMessage } from '@platform/queue'
import { rabbitmq } from '@platform/queue/rabbitmq'
import { component, createService } from '@platform/service'
import { httpServer } from '@platform/service/http'
import { z } from 'zod'

const server = z.object({ url: secret(z.string()) })
const settings = defineConfig({ schema: z.object({ port: z.number(), db: server, broker: server }) })
const config = await settings.load({ sources: [file('config.yaml'), env({ prefix: 'ORDERS' })] }) // ORDERS_DB_URL wins
const { current } = config

const logger = createLogger({ name: 'orders', redact: { values: () => config.secrets() } })
const db = createDbPool({ url: current.db.url.reveal(), logger })
const schema = { ready: async () => void (await migrate(db, { directory: 'migrations' })), close: async () => {} }
const broker = createBroker({ driver: rabbitmq({ urls: [current.broker.url.reveal()] }), service: 'orders', logger })
const outbox = createOutbox({ db, broker, logger })
const cache = createCache({ namespace: 'orders', l1: memory({ maxBytes: 64e6 }), bus: postgresBus({ db }), ttlMs: 60_000 })

const orderPlaced = defineMessage('orders.placed', { version: 1, schema: z.object({ id: z.uuid(), film: z.string() }) })

async function place(film: string): Promise<string> {
  const id = randomUUID()
  await db.transaction(async (tx) => {
    await tx.query('insert into orders (id, film) values ($1, $2)', [id, film])
    await outbox.add(tx, orderPlaced, { id, film }) // commits with the order or not at all
  })
  return id
}

const shipping = broker.consumer(
  orderPlaced,
  async ({ body }, { tx }) => {
    await tx.query('update orders set shipped = true where id = $1', [body.id])
    cache.invalidateAfterCommit(tx, { tags: [body.film] }) // a rollback undoes it, a crash does not lose it
  },
  { group: 'shipping', retry: { maxAttempts: 5 }, inbox: createInbox({ db }) }, // a message that comes twice ships once
)

const shipped = (film: string): Promise<number> =>
  cache.getOrSet(film, async (entry) => {
    entry.tag(film)
    const { rows } = await db.query<{ n: number }>('select count(*)::int as n from orders where film = $1 and shipped', [film])
    return rows[0]!.n
  })

const newOrder = z.object({ film: z.string() })

async function answer(request: IncomingMessage): Promise<object> {
  if (request.method !== 'POST') return { shipped: await shipped(decodeURIComponent(request.url!.slice(1))) }
  return { id: await place(newOrder.parse(await json(request)).film) }
}

const handler = createServer((request, response) => {
  answer(request).then(
    (body) => response.setHeader('content-type', 'application/json').end(JSON.stringify(body)),
    (error: unknown) => {
      logger.error(error)
      response.writeHead(500).end()
    },
  )
})
const http = httpServer(handler, { port: current.port, logger })

await createService({
  name: 'orders',
  components: {
    config,
    db: component(db, { check: 'shared' }),
    schema: component(schema, { needs: ['db'] }),
    cache: component(cache, { needs: ['db'] }),
    broker,
    outbox: component(outbox, { needs: ['schema', 'broker'] }),
    shipping: component(shipping, { needs: ['schema', 'broker', 'cache'] }),
    http: component(http, { needs: ['schema', 'outbox'] }),
  },
  logger,
}).run() // starts along the graph; SIGTERM drains http, then the consumer, then the rest
