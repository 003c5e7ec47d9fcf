import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { promisify } from 'node:util'
import { authorityFile, filmStore, infra, ownStore, signIn } from '@film-store/containers'
import { freePort } from '@platform/stack'
import { type ComposeProject, compose as runCompose } from '@platform/stack/compose'
import { containersOf } from './containers.ts'
import { consulValue } from './reconfigure.ts'
import { isReady, type ServiceSpec } from './services.ts'
import type { Opening, Store } from './store.ts'

/** Each run has a project of its own, named after its process, so that two at once do not end each other. */
const projectPrefix = 'film-store-demo-'
const readyWithinMs = 60_000

/** The containers by their place in docker/compose.yml; ports are drawn for each run. */
const services = [
  { name: 'catalog-api', instance: 1, container: 'catalog-api-1', variable: 'CATALOG_1' },
  { name: 'catalog-api', instance: 2, container: 'catalog-api-2', variable: 'CATALOG_2' },
  { name: 'orders-api', instance: 1, container: 'orders-api-1', variable: 'ORDERS_1' },
  { name: 'orders-api', instance: 2, container: 'orders-api-2', variable: 'ORDERS_2' },
  { name: 'fulfilment-worker', instance: 1, container: 'fulfilment-worker', variable: 'FULFILMENT' },
  { name: 'identity-api', instance: 1, container: 'identity-api', variable: 'IDENTITY' },
  { name: 'gateway', instance: 1, container: 'gateway', variable: 'GATEWAY' },
] as const

const servers = ['postgres', 'redis', 'rabbitmq', 'consul', 'gateway'] as const

export interface ComposeStore extends Store {
  readonly compose: { readonly project: ComposeProject /** Folder of the passwords. */; readonly secrets: string }
}

/** The store in containers of its own, started from nothing: customers come through the gateway, the books are read through ports on 127.0.0.1. */
export async function openComposeStore({ signal, onProgress, build = true, ha = false, tls = false }: Opening): Promise<ComposeStore> {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'film-store-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const [shopPort, postgresPort] = [await freePort(), await freePort()]
  const specs: (ServiceSpec & { container: string; variable: string })[] = []
  for (const service of services) specs.push({ ...service, adminPort: await freePort(), env: {} })
  const env = ownStore({
    COMPOSE_PROJECT_NAME: `${projectPrefix}${process.pid}`,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_PORT: String(shopPort),
    FILM_STORE_POSTGRES_PORT: String(postgresPort),
    ...Object.fromEntries(specs.map(({ variable, adminPort }) => [`FILM_STORE_${variable}_PORT`, String(adminPort)])),
  })
  const run = async (command: string, args: readonly string[]) =>
    (await promisify(execFile)(command, [...args], { env: { ...process.env, ...env }, maxBuffer: 256e6 })).stdout
  const project = filmStore([...(ha ? (['ha'] as const) : []), ...(tls ? (['tls'] as const) : []), 'inspect'], env)
  const compose = (...args: string[]) => runCompose(project, '--progress=quiet', ...args)

  const logFile = `${folder}.log`
  let logKept = false
  const keepLog = () => {
    logKept = true
    return logFile
  }
  const failed = (what: string) => new Error(`${what}; the log is in ${keepLog()}`)

  for (const left of await leftByTheDead(run)) {
    onProgress(`removing ${left}, whose process was killed`)
    await infra(['down', '--volumes'], { ...env, COMPOSE_PROJECT_NAME: left }, signal)
  }
  opened.defer(async () => {
    if (logKept) await writeFile(logFile, await compose('logs', '--no-color', '--timestamps'))
    await compose('down', '--volumes', '--timeout', '1')
  })
  try {
    const told = await infra(
      ['up', '--inspect', ...(ha ? ['--ha'] : []), ...(tls ? ['--tls'] : []), ...(build ? [] : ['--no-build'])],
      env,
      signal,
    )
    for (const line of told.split('\n')) if (/built in|is well \d/.test(line)) onProgress(line)
  } catch (error) {
    signal?.throwIfAborted()
    throw failed(`the containers did not come up:\n${(error as Error).message}`)
  }

  if (tls) setDefaultCACertificates([...getCACertificates('default'), await readFile(authorityFile(env.FILM_STORE_SECRETS), 'utf8')])
  const secret = (name: string) => readFile(join(env.FILM_STORE_SECRETS, name), 'utf8')
  const database = async (name: string) =>
    `postgres://${name}:${await secret(`${name}_db_password`)}@127.0.0.1:${postgresPort}/${name}${tls ? '?sslmode=verify-full' : ''}`
  const databases = { catalog: await database('catalog'), orders: await database('orders'), fulfilment: await database('fulfilment') }
  const containerOf = (spec: ServiceSpec) => specs.find(({ name, instance }) => name === spec.name && instance === spec.instance)!.container
  const images = await imagesOf(compose)
  const url = `${tls ? 'https' : 'http'}://127.0.0.1:${shopPort}`

  const containers = containersOf(project, servers, failed)
  const idOf = async (container: string) => (await compose('ps', '--all', '--quiet', container)).trim()
  const exitOf = async (container: string) => {
    const startedAt = performance.now()
    await compose('stop', container)
    const tookMs = performance.now() - startedAt
    const id = await idOf(container)
    return { container, tookMs, code: Number(await run('docker', ['inspect', '--format', '{{.State.ExitCode}}', id])) }
  }

  const owned = opened.move()
  return {
    compose: { project, secrets: env.FILM_STORE_SECRETS },
    servers: servers.map((name) => ({ name, version: images.get(name) ?? '?', url: `container ${name}` })),
    postgres: { kill: () => containers.kill('postgres'), restart: () => containers.start('postgres') },
    containers,
    databases,
    adminToken: await secret('admin_token'),
    specs,
    door: { url, specs: specs.filter(({ name }) => name === 'gateway'), signIn: (customer) => signIn(url, customer) },
    catalogUrls: [url],
    ordersUrls: [url],
    setShop: async (setting, value) => {
      await compose('exec', '-T', 'consul', 'consul', 'kv', 'put', `film-store/shop/${setting}`, consulValue(value))
    },
    services: {
      logFile,
      keepLog,
      migrate: () => Promise.reject(new Error('the containers migrate by themselves')),
      kill: (spec) => containers.kill(containerOf(spec)),
      async start(spec) {
        await run('docker', ['start', await idOf(containerOf(spec))])
        const deadline = performance.now() + readyWithinMs
        while (!(await isReady(spec.adminPort))) {
          if (performance.now() > deadline) throw failed(`${containerOf(spec)} is not ready after ${readyWithinMs / 1000} s`)
          await new Promise((next) => setTimeout(next, 50))
        }
      },
      restart: () => Promise.reject(new Error('containers are not restarted by an edit: `pnpm infra dev` does that')),
      ended: () => new Promise(() => {}),
      stop: stopServices,
      end: async () => {},
    },
    close: () => stopServices(['gateway', 'orders-api', 'fulfilment-worker', 'catalog-api', 'identity-api']),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }

  async function stopServices(order: readonly string[]): Promise<void> {
    const unclean: string[] = []
    for (const name of order) {
      const exits = await Promise.all(specs.filter((spec) => spec.name === name).map((spec) => exitOf(spec.container)))
      for (const { container, code, tookMs } of exits) {
        onProgress(`${container} left with code ${code} after ${(tookMs / 1000).toFixed(1)} s`)
        if (code !== 0) unclean.push(`${container} left with code ${code}`)
      }
    }
    if (unclean.length > 0) throw failed(unclean.join(', '))
  }
}

/** Projects of runs that were killed. One whose number another process has now is left for a later run. */
async function leftByTheDead(run: (command: string, args: readonly string[]) => Promise<string>): Promise<string[]> {
  const label = 'com.docker.compose.project'
  const list = (what: string, ...all: string[]) =>
    run('docker', [what, 'ls', ...all, '--filter', `label=${label}`, '--format', `{{.Label "${label}"}}`])
  const found = await Promise.all([list('container', '--all'), list('network'), list('volume')])
  return [...new Set(found.flatMap((names) => names.split('\n')))].filter((name) => {
    const pid = name.startsWith(projectPrefix) ? Number(name.slice(projectPrefix.length)) : Number.NaN
    return pid > 0 && pid !== process.pid && !isAlive(pid)
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

async function imagesOf(compose: (...args: string[]) => Promise<string>): Promise<Map<string, string>> {
  const { services: all } = JSON.parse(await compose('config', '--format', 'json')) as { services: Record<string, { image: string }> }
  return new Map(Object.entries(all).map(([name, { image }]) => [name, image]))
}
