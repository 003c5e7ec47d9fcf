import { join } from 'node:path'
import { createDiscovery, type Discovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { staticInstances } from '@platform/discovery/static'
import { createLogger } from '@platform/logger'
import { component, createService } from '@platform/service'
import type { Redis } from 'ioredis'
import { GatewayError, refuseOption } from '../errors.ts'
import { createGateway } from '../gateway.ts'

interface RunValues {
  file: string
  folder: string
  consul?: string | undefined
  instance: readonly string[]
  redis?: string | undefined
  nginx?: string | undefined
}

/** The gateway as a program: until SIGTERM or SIGINT; SIGHUP reads the file again. */
export async function runGatewayProgram(values: RunValues): Promise<void> {
  const logger = createLogger({ name: 'gateway' })
  const discovery = discoveryOf(values)
  const redis = await redisOf(values.redis ?? process.env['GATEWAY_REDIS_URL'])
  const { file, folder, nginx } = values
  const gateway = createGateway({ file, folder, nginx, discovery, redis, logger, audit: logger.child({ audit: true }) })
  const lent = redis === undefined ? {} : { redis: { close: async () => redis.disconnect() } }
  const components = { discovery, ...lent, gateway: component(gateway, { needs: ['discovery', ...Object.keys(lent)] }) }
  await createService({ name: 'gateway', components, logger }).run()
}

/** Registered instances are kept in the folder: the next start may find no registry. */
function discoveryOf({ consul: url, instance, folder }: RunValues): Discovery {
  if (url !== undefined) {
    const token = process.env['GATEWAY_CONSUL_TOKEN']
    const registry = consul(token === undefined ? { url } : { url, token })
    return createDiscovery({ registry, snapshotFile: join(folder, 'instances.json') })
  }
  const services: Record<string, string[]> = {}
  for (const each of instance) {
    const [, service, address] = /^([a-z0-9-]+)=([\w.:[\]-]+:\d+)$/.exec(each) ?? []
    if (service === undefined) throw refuseOption('--instance', 'must look like orders=127.0.0.1:3000')
    ;(services[service] ??= []).push(`http://${address}`)
  }
  return createDiscovery({ registry: staticInstances(services) })
}

/** A peer of those who want limits that gateways share. */
async function redisOf(url: string | undefined): Promise<Redis | undefined> {
  if (url === undefined) return undefined
  try {
    const { Redis: Client } = await import('ioredis')
    return new Client(url, { maxRetriesPerRequest: 1 }).on('error', () => {})
  } catch (cause) {
    throw new GatewayError('ERR_GATEWAY_OPTION', 'limits in Redis need the package ioredis', { cause, option: '--redis' })
  }
}
