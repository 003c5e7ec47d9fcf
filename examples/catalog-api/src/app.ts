import type { Shop } from '@film-store/film-contracts/shop'
import type { LoggerLike } from '@platform/service'
import { fastifyInbound, type InboundHook } from '@platform/service/http'
import Fastify, { type FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Films } from './films.ts'
import { answerWithProblems, Problem } from './problems.ts'

const filmParams = z.object({ id: z.coerce.number().int().positive().max(2_147_483_647) })
const searchQuery = z.object({ query: z.string().trim().min(1).max(100), limit: z.coerce.number().int().min(1).max(50).default(20) })

export function buildApp({
  films,
  shop,
  inbound,
  secure = false,
  logger,
}: {
  films: Films
  shop: Shop
  inbound: readonly InboundHook[]
  /** Its server speaks TLS; whoever listens gives it the certificate. */
  secure?: boolean
  logger?: LoggerLike
}): FastifyInstance {
  // One type for both: what differs is the server beneath.
  const app = Fastify({ logger: false, ...((secure ? { https: {} } : {}) as object) })
  answerWithProblems(app, logger)
  void app.register(fastifyInbound(inbound))

  app.get('/films', async (request) => {
    const { query, limit } = searchQuery.parse(request.query)
    return { films: await films.search(query, limit) }
  })

  app.get('/films/:id', async (request) => {
    const { id } = filmParams.parse(request.params)
    const page = await films.page(id)
    if (!page) throw new Problem(404, 'Film not found', [{ pointer: '#/id', message: `no film has the number ${id}` }])
    return { ...page, currency: shop.currency, promotion: await shop.promotion() }
  })

  return app
}
