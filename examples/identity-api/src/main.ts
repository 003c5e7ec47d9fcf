/** Says who a customer is. A real store asks its identity provider: this one believes everybody. */
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tlsOf } from '@film-store/film-contracts/certificate'
import { release } from '@film-store/film-contracts/release'
import { commonSettings, httpSettings } from '@film-store/film-contracts/settings'
import { args, defineConfig, dotenv, env } from '@platform/config'
import { createLogger, createRedactor } from '@platform/logger'
import { createService } from '@platform/service'
import { httpServer } from '@platform/service/http'
import { startTelemetry } from '@platform/telemetry'
import { z } from 'zod'
import { createSigner } from './signer.ts'

const { logLevel, logFormat, instance, gracePeriod, admin, sampling, certificate } = commonSettings
const prefix = 'IDENTITY'
const settings = defineConfig({
  schema: z.object({
    logLevel,
    logFormat,
    instance,
    gracePeriod,
    admin,
    sampling,
    certificate,
    http: httpSettings,
    issuer: z.string().default('film-store').describe('What tokens say who signed them').meta({ reload: 'restart' }),
  }),
})
const config = await settings.load({ sources: [dotenv('.env', { prefix }), env({ prefix }), args()] })
const { current } = config
const logger = createLogger({
  name: 'identity-api',
  version: release(),
  level: current.logLevel,
  format: current.logFormat,
  redact: { values: () => config.secrets() },
})
const telemetry = startTelemetry({
  service: 'identity-api',
  instance: current.instance,
  sampling: { ratio: current.sampling },
  redactor: createRedactor({ values: () => config.secrets() }),
})
const signer = await createSigner(current.issuer)

const handle: RequestListener = (request, response) => {
  // No URL is made of it: what a client sends may be none.
  const [pathname, query] = (request.url ?? '/').split('?', 2)
  const customer = new URLSearchParams(query).get('customer')
  const answer = (status: number, body: object) =>
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body))
  if (pathname === '/keys') answer(200, signer.keys)
  else if (pathname === '/tokens' && request.method === 'POST' && customer) {
    signer.sign(customer).then(
      (token) => answer(200, { token }),
      (error: unknown) => {
        logger.error(error)
        answer(500, { title: 'no token could be signed' })
      },
    )
  } else answer(404, { title: 'not found' })
}
const tls = tlsOf(current.certificate)
const server = 'tls' in tls ? createTlsServer(handle) : createServer(handle)

await createService({
  name: 'identity-api',
  components: { config, telemetry, http: httpServer(server, { ...current.http, ...tls, inbound: [telemetry.inbound], logger }) },
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, ...tls },
  logger,
}).run()
