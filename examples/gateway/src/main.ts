/** The only door of the store: nginx, and what tells it of routes, instances, tokens and limits. */
import { join } from 'node:path'
import { tlsOf } from '@film-store/film-contracts/certificate'
import { release } from '@film-store/film-contracts/release'
import { sentinelOptions, sentinelsSetting } from '@film-store/film-contracts/sentinels'
import { commonSettings } from '@film-store/film-contracts/settings'
import { args, defineConfig, dotenv, env, secret } from '@platform/config'
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { staticInstances } from '@platform/discovery/static'
import { createGateway } from '@platform/gateway'
import { createLogger, createRedactor } from '@platform/logger'
import { component, createService } from '@platform/service'
import { startTelemetry } from '@platform/telemetry'
import { Redis } from 'ioredis'
import { z } from 'zod'

const { logLevel, logFormat, instance, gracePeriod, admin, sampling, certificate } = commonSettings
const atStart = { reload: 'restart' } as const
const prefix = 'GATEWAY'
const settings = defineConfig({
  schema: z.object({
    logLevel,
    logFormat,
    instance,
    gracePeriod,
    admin,
    sampling,
    certificate,
    file: z.string().describe('The file of routes').meta(atStart),
    folder: z.string().describe("A folder of this gateway's own").meta(atStart),
    nginx: z.string().default('nginx').describe('Program').meta(atStart),
    workers: z.int().positive().default(1).describe('Of nginx').meta(atStart),
    consulUrl: z.string().describe('Where the instances are registered').meta(atStart),
    consulToken: secret(z.string()).optional().describe('Opens Consul').meta(atStart),
    ordersUrls: z.array(z.string()).default([]).describe('Instances of orders-api, which registers nowhere').meta(atStart),
    identityUrls: z.array(z.string()).default([]).describe('Instances of identity-api, which registers nowhere').meta(atStart),
    redisUrl: secret(z.string()).describe('Where the gateways count together').meta(atStart),
    sentinels: sentinelsSetting.meta(atStart),
  }),
})
const config = await settings.load({ sources: [dotenv('.env', { prefix }), env({ prefix }), args()] })
const { current } = config
const { file, folder, nginx, workers } = current
const logger = createLogger({
  name: 'gateway',
  version: release(),
  level: current.logLevel,
  format: current.logFormat,
  redact: { values: () => config.secrets() },
})
const telemetry = startTelemetry({
  service: 'gateway',
  instance: current.instance,
  sampling: { ratio: current.sampling },
  redactor: createRedactor({ values: () => config.secrets() }),
})
const registered = consul({ url: current.consulUrl, token: current.consulToken?.reveal() })
const listed = staticInstances({ 'orders-api': current.ordersUrls, 'identity-api': current.identityUrls })
// The next start may find no registry.
const discovery = createDiscovery({ registry: [registered, listed], snapshotFile: join(folder, 'instances.json'), logger })
const redisUrl = current.redisUrl.reveal()
const { sentinels } = current
const redis = sentinels
  ? new Redis({ ...sentinelOptions(redisUrl, sentinels), maxRetriesPerRequest: 1 })
  : new Redis(redisUrl, { maxRetriesPerRequest: 1 })
redis.on('error', (error) => logger.debug({ reason: error.message }, 'Redis is away'))
const gateway = createGateway({ file, folder, nginx, workers, discovery, redis, logger })

await createService({
  name: 'gateway',
  components: {
    config,
    telemetry,
    discovery,
    redis: { close: async () => redis.disconnect() },
    gateway: component(gateway, { needs: ['discovery', 'redis'], check: 'critical' }),
  },
  gracePeriodMs: current.gracePeriod,
  admin: { ...current.admin, ...tlsOf(current.certificate) },
  logger,
}).run()
