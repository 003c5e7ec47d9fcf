/** Where customers come in where the services are not met directly: the gateway, and who signs them in. */
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { signIn } from '@film-store/containers'
import { routesAt } from '@film-store/gateway/routes'
import { findNginx, type Server } from '@platform/stack'
import type { Services, ServiceSpec } from './services.ts'

export interface Door {
  readonly url: string
  readonly specs: readonly ServiceSpec[]
  /** Good for an hour. */
  signIn(customer: string): Promise<string>
}

interface Surroundings {
  readonly services: Services
  /** Of the run; the gateway gets one in it. */
  readonly folder: string
  readonly redis: Pick<Server, 'url'>
  readonly consul: Pick<Server, 'url'>
  readonly ordersUrls: readonly string[]
  readonly adminToken: string
  readonly accessLog: boolean
  portOf(user: string): Promise<number>
  onProgress(line: string): void
  readonly signal: AbortSignal | undefined
}

export async function openDoor(around: Surroundings): Promise<Door> {
  const { services, folder, redis, consul, ordersUrls, adminToken, accessLog, portOf, onProgress, signal } = around
  const nginx = await findNginx({ onProgress, ...(signal && { signal }) })
  onProgress(`nginx ${nginx.version} (${nginx.origin})`)
  const port = await portOf('gateway 1')
  const [adminPort, identityPort, identityAdminPort] = [
    await portOf('gateway 1 admin'),
    await portOf('identity-api 1'),
    await portOf('identity-api 1 admin'),
  ]
  // As root, nginx runs its workers as nobody: they must get to the gateway's folder.
  await chmod(folder, 0o711)
  const identities = `http://127.0.0.1:${identityPort}`
  const file = join(folder, 'gateway.yaml')
  await writeFile(file, routesAt({ address: '127.0.0.1', port, keysUrl: `${identities}/keys` }))
  const identity: ServiceSpec = {
    name: 'identity-api',
    instance: 1,
    adminPort: identityAdminPort,
    env: {
      IDENTITY_ADMIN_PORT: String(identityAdminPort),
      IDENTITY_ADMIN_TOKEN: adminToken,
      IDENTITY_HTTP_PORT: String(identityPort),
      IDENTITY_HTTP_MIN_DRAIN_MS: '0',
    },
  }
  const gateway: ServiceSpec = {
    name: 'gateway',
    instance: 1,
    adminPort,
    env: {
      GATEWAY_ADMIN_PORT: String(adminPort),
      GATEWAY_ADMIN_TOKEN: adminToken,
      GATEWAY_FILE: file,
      GATEWAY_FOLDER: join(folder, 'gateway'),
      GATEWAY_NGINX: nginx.program,
      GATEWAY_CONSUL_URL: consul.url,
      GATEWAY_REDIS_URL: redis.url,
      GATEWAY_ORDERS_URLS: ordersUrls.join(','),
      GATEWAY_IDENTITY_URLS: identities,
      // Its lines about requests are of level info.
      GATEWAY_LOG_LEVEL: accessLog ? 'info' : 'warn',
    },
  }
  await services.start(identity)
  await services.start(gateway)
  const url = `http://127.0.0.1:${port}`
  return { url, specs: [identity, gateway], signIn: (customer) => signIn(url, customer) }
}
