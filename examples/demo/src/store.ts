import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { freePort, type Server, startConsul, startPostgres, startRabbitmq, startRedis } from '@platform/stack'
import { openComposeStore } from './compose.ts'
import { createDatabases } from './databases.ts'
import { type Door, openDoor } from './door.ts'
import type { Mode } from './options.ts'
import { shopFile, shopInConsul, type ShopSetting } from './reconfigure.ts'
import { createServices, type Launcher, type Services, type ServiceSpec } from './services.ts'

export interface Store {
  readonly servers: readonly { readonly name: string; readonly version: string; readonly url: string }[]
  readonly postgres: Pick<Server, 'kill' | 'restart'>
  /** The servers that run in containers, to be broken one by one; absent when they do not. */
  readonly containers?: Containers
  readonly databases: Readonly<Record<'catalog' | 'orders' | 'fulfilment', string>>
  readonly services: Services
  readonly specs: readonly ServiceSpec[]
  /** Opens the admin listeners of all services; absent where they have none and nothing can be changed. */
  readonly adminToken?: string
  /** Where customers come in; absent where they reach the services themselves. */
  readonly door?: Door
  readonly catalogUrls: readonly string[]
  readonly ordersUrls: readonly string[]
  /** Changes a setting of the shop where its instances follow it. */
  setShop(setting: ShopSetting, value: unknown): Promise<void>
  /** Asks the services to leave, in the order of the messages; rejects when one does not do so cleanly. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export interface Containers {
  readonly names: readonly string[]
  /** Runs a command in it; answers with what it printed. */
  exec(name: string, ...command: string[]): Promise<string>
  kill(name: string): Promise<void>
  /** Resolves when it is healthy. */
  start(name: string): Promise<void>
}

export interface Opening {
  readonly mode: Mode
  readonly launcher: Launcher
  readonly signal?: AbortSignal
  /** Compose mode: whether the images are brought up to date first. Default true. */
  readonly build?: boolean
  /** Compose mode: whether no server is alone. Default false. */
  readonly ha?: boolean
  /** Compose mode: whether all parts speak TLS. Default false. */
  readonly tls?: boolean
  /** Whether the services log every request. Default false. */
  readonly accessLog?: boolean
  /** The port for a server or a service, by its name. Default: a free one. */
  portOf?(user: string): Promise<number>
  onProgress(line: string): void
  /** Told where the services write their log; returns what ends the following. */
  onLog?(file: string): () => void
}

/** Servers, schemas, services: as processes, or in containers. */
export function openStore(opening: Opening): Promise<Store> {
  return opening.mode === 'compose' ? openComposeStore(opening) : openProcesses(opening)
}

/** Starts servers, migrates, starts services; whatever was started is ended again when a later step fails or the signal aborts. */
async function openProcesses({ mode, launcher, signal, accessLog = false, portOf, onProgress, onLog }: Opening): Promise<Store> {
  await using opened = new AsyncDisposableStack()
  const options = async (name: string) => ({
    fresh: true,
    onProgress,
    ...(signal && { signal }),
    ...(portOf && { port: await portOf(name) }),
  })
  const starting = [
    startPostgres({ ...(await options('postgres')), source: mode === 'native' ? 'machine' : 'embedded' }),
    ...(mode === 'native'
      ? [startRedis(await options('redis')), startRabbitmq(await options('rabbitmq')), startConsul(await options('consul'))]
      : []),
  ]
  for (const outcome of await Promise.allSettled(starting)) {
    if (outcome.status === 'fulfilled') opened.use(outcome.value)
  }
  const [postgres, redis, rabbitmq, consul] = await Promise.all(starting)
  const servers = [postgres, redis, rabbitmq, consul].filter((server) => server !== undefined)
  for (const { name, version, origin } of servers) onProgress(`${name} ${version} (${origin})`)

  const { queue, ...databases } = await createDatabases(postgres!.url, ['catalog', 'orders', 'fulfilment', 'queue'])
  const services = await createServices(launcher)
  opened.defer(() => services.end())
  const unfollow = onLog?.(services.logFile)
  if (unfollow) opened.defer(unfollow)

  const urls = {
    queue: rabbitmq ? { driver: 'rabbitmq', url: rabbitmq.url } : { driver: 'postgres', url: queue },
    redis: redis?.url,
    consul: consul?.url,
    settingsFile: join(dirname(services.logFile), 'shop.json'),
  }
  const adminToken = randomBytes(24).toString('hex')
  const port = portOf ?? drawPorts()
  const { specs, catalogUrls, ordersUrls } = await describeServices(databases, urls, {
    adminToken,
    accessLog,
    portOf: port,
  })

  signal?.throwIfAborted()
  const first = (name: string) => specs.find((spec) => spec.name === name)!
  await Promise.all(['catalog-api', 'orders-api', 'fulfilment-worker'].map((name) => services.migrate(first(name))))
  onProgress('databases migrated and seeded')
  signal?.throwIfAborted()
  // Whoever consumes comes first, so that no message is published before its readers have declared themselves.
  for (const name of ['catalog-api', 'fulfilment-worker', 'orders-api']) {
    await Promise.all(specs.filter((spec) => spec.name === name).map((spec) => services.start(spec)))
  }
  signal?.throwIfAborted()
  const door =
    redis && consul
      ? await openDoor({
          services,
          folder: dirname(services.logFile),
          redis,
          consul,
          ordersUrls,
          adminToken,
          accessLog,
          portOf: port,
          onProgress,
          signal,
        })
      : undefined
  if (door) specs.push(...door.specs)
  onProgress(`${specs.length} services ready`)

  const owned = opened.move()
  return {
    servers,
    postgres: postgres!,
    databases,
    services,
    specs,
    adminToken,
    ...(door && { door }),
    catalogUrls,
    ordersUrls,
    setShop: consul ? shopInConsul(consul.url) : shopFile(urls.settingsFile),
    close: () => services.stop(['gateway', 'orders-api', 'fulfilment-worker', 'catalog-api', 'identity-api']),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function describeServices(
  databases: Store['databases'],
  {
    queue,
    redis,
    consul,
    settingsFile,
  }: { queue: { driver: string; url: string }; redis: string | undefined; consul: string | undefined; settingsFile: string },
  { adminToken, accessLog, portOf }: { adminToken: string; accessLog: boolean; portOf(user: string): Promise<number> },
): Promise<{ specs: ServiceSpec[]; catalogUrls: string[]; ordersUrls: string[] }> {
  const url = (port: number) => `http://127.0.0.1:${port}`
  const common = (prefix: string, instance: number, adminPort: number, db: string) => ({
    [`${prefix}_INSTANCE`]: String(instance),
    [`${prefix}_ADMIN_PORT`]: String(adminPort),
    [`${prefix}_ADMIN_TOKEN`]: adminToken,
    [`${prefix}_DB_URL`]: db,
    [`${prefix}_QUEUE_DRIVER`]: queue.driver,
    [`${prefix}_QUEUE_URL`]: queue.url,
  })
  const [c1, c2, ca1, ca2] = await ports(portOf, 'catalog-api 1', 'catalog-api 2', 'catalog-api 1 admin', 'catalog-api 2 admin')
  const [o1, o2, oa1, oa2] = await ports(portOf, 'orders-api 1', 'orders-api 2', 'orders-api 1 admin', 'orders-api 2 admin')
  const w = await portOf('fulfilment-worker 1 admin')
  const catalogUrls = [url(c1), url(c2)]
  const catalog = (instance: number, port: number, adminPort: number): ServiceSpec => ({
    name: 'catalog-api',
    instance,
    adminPort,
    env: {
      ...common('CATALOG', instance, adminPort, databases.catalog),
      CATALOG_HTTP_PORT: String(port),
      CATALOG_ACCESS_LOG: String(accessLog),
      // Nobody stands between the shopper and the services.
      CATALOG_HTTP_MIN_DRAIN_MS: '0',
      ...(redis && { CATALOG_CACHE_REDIS_URL: redis }),
      ...(consul ? { CATALOG_CONSUL_URL: consul } : { CATALOG_SETTINGS_FILE: settingsFile }),
    },
  })
  const orders = (instance: number, port: number, adminPort: number): ServiceSpec => ({
    name: 'orders-api',
    instance,
    adminPort,
    env: {
      ...common('ORDERS', instance, adminPort, databases.orders),
      ORDERS_HTTP_PORT: String(port),
      ORDERS_ACCESS_LOG: String(accessLog),
      ORDERS_HTTP_MIN_DRAIN_MS: '0',
      ...(consul ? { ORDERS_CONSUL_URL: consul } : { ORDERS_CATALOG_URLS: catalogUrls.join(','), ORDERS_SETTINGS_FILE: settingsFile }),
    },
  })
  const worker: ServiceSpec = {
    name: 'fulfilment-worker',
    instance: 1,
    adminPort: w,
    env: common('FULFILMENT', 1, w, databases.fulfilment),
  }
  return {
    specs: [catalog(1, c1, ca1), catalog(2, c2, ca2), orders(1, o1, oa1), orders(2, o2, oa2), worker],
    catalogUrls,
    ordersUrls: [url(o1), url(o2)],
  }
}

async function ports(portOf: (user: string) => Promise<number>, ...users: [string, string, string, string]) {
  const found: number[] = []
  for (const user of users) found.push(await portOf(user))
  return found as [number, number, number, number]
}

/** Ports that differ from each other: a drawn port is not taken until its service listens. */
function drawPorts(): () => Promise<number> {
  const drawn = new Set<number>()
  return async () => {
    for (;;) {
      const port = await freePort()
      if (drawn.has(port)) continue
      drawn.add(port)
      return port
    }
  }
}
