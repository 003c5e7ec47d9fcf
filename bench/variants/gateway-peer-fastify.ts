/** What one would write in Node for `questions/gateway.ts`: a proxy that verifies tokens, keeps verdicts, counts in Redis, writes a line for each request. */
import { createPublicKey } from 'node:crypto'
import { openSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import proxy from '@fastify/http-proxy'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import fastify from 'fastify'
import { Redis } from 'ioredis'
import pino from 'pino'

const [upstream = '', issuer = '', redisUrl = ''] = process.argv.slice(2)
const { keys } = (await (await fetch(`${issuer}/keys`)).json()) as { keys: [object] }
const publicKey = createPublicKey({ key: keys[0] as never, format: 'jwk' }).export({ type: 'spki', format: 'pem' }) as string
const app = fastify({ loggerInstance: pino(pino.destination({ dest: openSync('/dev/null', 'w'), sync: false })) })
await app.register(jwt, {
  secret: { public: publicKey },
  verify: { algorithms: ['ES256'], allowedIss: 'bench', allowedAud: 'film-store', cache: true },
})
await app.register(rateLimit, {
  max: 1_000_000,
  timeWindow: 1_000,
  hook: 'preHandler',
  redis: new Redis(redisUrl),
  keyGenerator: ({ user }) => (user as { sub: string }).sub,
})
app.addHook('onRequest', async (request) => request.jwtVerify())
await app.register(proxy, { upstream, prefix: '/', undici: { connections: 64, pipelining: 1 } })
await app.listen({ port: 0, host: '127.0.0.1' })
process.on('disconnect', () => process.exit())
process.send!({ port: (app.server.address() as AddressInfo).port })
