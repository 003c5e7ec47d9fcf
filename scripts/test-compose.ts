/** The containers' gate: up from nothing, locked down, cut off from each other, broken one by one under load, gone without a trace. */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { allProfiles, filmStore, reachable, signIn, writeWatch } from '../examples/containers/src/index.ts'
import { compose, composeContainers, docker, isWell } from '../packages/stack/src/compose.ts'
import { freePort } from '../packages/stack/src/index.ts'
import { drillChecks } from './compose/drill-checks.ts'
import { rolloutChecks } from './compose/rollout-checks.ts'
import { watchChecks } from './compose/watch-checks.ts'
import { bin, requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
const startedAt = performance.now()
const name = `film-store-test-${process.pid}`
const folder = mkdtempSync(join(tmpdir(), 'film-store-test-'))
const secrets = join(folder, 'secrets')
const [shopPort, prometheusPort, alertmanagerPort] = [await freePort(), await freePort(), await freePort()]
const env = {
  COMPOSE_PROJECT_NAME: name,
  FILM_STORE_SECRETS: secrets,
  FILM_STORE_WATCH: join(folder, 'watch'),
  FILM_STORE_PORT: String(shopPort),
  FILM_STORE_PROMETHEUS_PORT: String(prometheusPort),
  FILM_STORE_ALERTMANAGER_PORT: String(alertmanagerPort),
}
const project = filmStore([], env, allProfiles)
const services = ['catalog-api-1', 'catalog-api-2', 'orders-api-1', 'orders-api-2', 'fulfilment-worker', 'identity-api', 'gateway']
const servers = ['postgres', 'redis', 'rabbitmq', 'consul']
/** What runs before the rest and ends. */
const once = /^(migrate-|consul-tokens$)/
const counts = { passed: 0, failed: 0 }

/** `work` answers with what it found; it fails by throwing. */
async function check(what: string, work: () => Promise<string> | string): Promise<boolean> {
  try {
    console.log(` ok  ${what}: ${await work()}`)
    counts.passed++
    return true
  } catch (error) {
    console.log(`FAIL ${what}: ${(error as Error).message}`)
    counts.failed++
    return false
  }
}

function must(faults: readonly string[], detail: string): string {
  if (faults.length > 0) throw new Error(faults.join('; '))
  return detail
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
const infra = (...args: string[]) => run(process.execPath, ['scripts/infra.ts', ...args], env)
const exec = (container: string, ...args: string[]) => compose(project, 'exec', '-T', container, ...args)

interface Inspected {
  readonly Name: string
  readonly Config: { Labels: Record<string, string> }
  readonly HostConfig: {
    readonly ReadonlyRootfs: boolean
    readonly CapDrop: string[] | null
    readonly CapAdd: string[] | null
    readonly SecurityOpt: string[] | null
    readonly Memory: number
    readonly NanoCpus: number
    readonly PidsLimit: number | null
    readonly LogConfig: { Config: Record<string, string> }
    readonly RestartPolicy: { Name: string }
  }
}

async function inspectAll(): Promise<Inspected[]> {
  const ids = (await compose(project, 'ps', '--all', '--quiet')).trim().split('\n')
  return JSON.parse(await docker(['inspect', ...ids])) as Inspected[]
}

async function lockedDown(): Promise<string> {
  const all = await inspectAll()
  const faults = all.flatMap(({ Config, HostConfig: host }) => {
    const who = Config.Labels['com.docker.compose.service']!
    const rules: [string, boolean][] = [
      ['a writable root file system', !host.ReadonlyRootfs],
      ['capabilities', !host.CapDrop?.includes('ALL') || (host.CapAdd?.length ?? 0) > 0],
      ['new privileges', !host.SecurityOpt?.some((option) => option.startsWith('no-new-privileges'))],
      ['no memory limit', host.Memory === 0],
      ['no processor limit', host.NanoCpus === 0],
      ['no limit of processes', !host.PidsLimit],
      ['no cap of its log', !host.LogConfig.Config['max-size']],
      ['the wrong restart policy', host.RestartPolicy.Name !== (once.test(who) ? 'no' : 'unless-stopped')],
    ]
    return rules.filter(([, broken]) => broken).map(([what]) => `${who} has ${what}`)
  })
  for (const each of [...servers, ...services]) {
    const user = /^Uid:\s+(\d+)/m.exec(await exec(each, 'cat', '/proc/1/status'))?.[1]
    if (user === '0') faults.push(`${each} runs as root`)
  }
  return must(faults, `${all.length} containers`)
}

interface Described {
  readonly ports?: { host_ip?: string; published?: string }[]
  readonly stop_grace_period?: string
  readonly environment?: Record<string, string>
  readonly networks: Record<string, unknown>
}

async function describe(overrides: Parameters<typeof filmStore>[0], settings: NodeJS.ProcessEnv = {}): Promise<[string, Described][]> {
  const text = await compose(filmStore(overrides, { ...env, ...settings }, allProfiles), 'config', '--format', 'json')
  return Object.entries((JSON.parse(text) as { services: Record<string, Described> }).services)
}

async function publishedPorts(): Promise<string> {
  const beyondThisMachine = (services: readonly [string, Described][]) =>
    services.filter(([, { ports = [] }]) => ports.some(({ host_ip }) => host_ip !== '127.0.0.1')).map(([service]) => service)
  const plain = await describe([])
  const published = plain.filter(([, { ports = [] }]) => ports.length > 0).map(([service]) => service)
  const asked = beyondThisMachine(await describe([], { FILM_STORE_ADDRESS: '0.0.0.0' }))
  const open = [...beyondThisMachine(plain), ...beyondThisMachine(await describe(['inspect']))]
  return must(
    [
      ...published
        .filter((service) => !['gateway', 'prometheus', 'alertmanager', 'grafana'].includes(service))
        .map((service) => `${service} is published`),
      ...open.map((service) => `${service} is open to the network without being asked`),
      ...(asked.join() === 'gateway' ? [] : [`FILM_STORE_ADDRESS opens ${asked.join() || 'nothing'}`]),
    ],
    'the gateway, on 127.0.0.1 unless FILM_STORE_ADDRESS says otherwise; the watch on 127.0.0.1 alone',
  )
}

async function oneGracePeriod(): Promise<string> {
  const all = (await describe([])).filter(([service]) => services.includes(service))
  const faults = all.filter(([, { stop_grace_period: granted, environment = {} }]) => {
    const told = Object.entries(environment).find(([variable]) => variable.endsWith('_GRACE_PERIOD'))?.[1]
    return granted === undefined || granted !== told
  })
  return must(
    faults.map(([service]) => `${service} is told another figure`),
    all[0]![1].stop_grace_period!,
  )
}

async function passwords(): Promise<string> {
  const mode = statSync(secrets).mode & 0o777
  const refused = async (what: string, container: string, script: string, sign: RegExp) => {
    const answer = await exec(container, 'sh', '-c', `${script} 2>&1 || true`)
    return sign.test(answer) ? [] : [`${what}: ${answer.trim()}`]
  }
  const key = (file: string) => readFileSync(join(secrets, file), 'utf8')
  const catalog = key('catalog_db_password')
  const psql = (user: string, password: string, database: string) =>
    `PGPASSWORD=${password} psql --host 127.0.0.1 --username ${user} --dbname ${database} --command 'select 1'`
  const consulAs = (token: string) => `CONSUL_HTTP_TOKEN_FILE= CONSUL_HTTP_TOKEN=${token}`
  return must(
    [
      ...(mode === 0o700 ? [] : [`the folder's mode is ${mode.toString(8)}`]),
      ...(await refused(
        'PostgreSQL takes a default password',
        'postgres',
        psql('postgres', 'postgres', 'postgres'),
        /authentication failed/,
      )),
      ...(await refused("catalog reads orders' database", 'postgres', psql('catalog', catalog, 'orders'), /permission denied/)),
      ...(await refused('Redis asks for no password', 'redis', 'redis-cli ping', /NOAUTH/)),
      ...(await refused(
        'RabbitMQ has another user than those of the services',
        'rabbitmq',
        'rabbitmqctl --silent list_users | grep -vwE "catalog|orders|fulfilment|backup|user" || echo none',
        /^none\s*$/,
      )),
      ...(await refused('Consul tells a stranger a setting', 'consul', `${consulAs('')} consul kv get film-store/shop/currency`, /403/)),
      ...(await refused(
        'catalog changes settings',
        'consul',
        `${consulAs(key('catalog_consul_token'))} consul kv put film-store/shop/currency EUR`,
        /403/,
      )),
      ...(await refused(
        'orders announces itself as catalog-api',
        'consul',
        `${consulAs(key('orders_consul_token'))} consul services register -name catalog-api`,
        /403/,
      )),
      ...(await refused('RabbitMQ takes guest', 'rabbitmq', 'rabbitmqctl authenticate_user guest guest', /[Ee]rror/)),
    ],
    'drawn at the first start; default ones, none, and those of a neighbour are refused',
  )
}

const apis = services.filter((each) => /-\d$/.test(each)).flatMap((each) => [`${each}:3000`, `${each}:9000`])
const identities = ['identity-api:3000', 'identity-api:9000']
const gateway = ['gateway:8080', 'gateway:9000']
const data = ['postgres:5432', 'redis:6379', 'rabbitmq:5672', 'consul:8500']
const exporters = ['postgres-exporter:9187', 'redis-exporter:9121']
const watchers = ['prometheus:9090', 'alertmanager:9093', 'node-exporter:9100']
const targets = [...gateway, ...identities, ...apis, 'fulfilment-worker:9000', ...data, ...exporters, 'rabbitmq:15692', ...watchers]
/** Who can be reached from inside each network; everything else must not be. */
const expected: Readonly<Record<string, readonly string[]>> = {
  edge: [...gateway, 'a way out'],
  app: [...gateway, ...identities, ...apis],
  control: [...gateway, 'redis:6379', 'consul:8500'],
  data: [...apis, 'fulfilment-worker:9000', ...data, ...exporters, 'rabbitmq:15692'],
  obs: [...exporters, ...watchers, 'a way out'],
}

async function isolation(network: string): Promise<string> {
  const found = await reachable(`${name}_${network}`, targets)
  const wanted = expected[network]!
  return must(
    [
      ...found.filter((each) => !wanted.includes(each)).map((each) => `reaches ${each}`),
      ...wanted.filter((each) => !found.includes(each)).map((each) => `does not reach ${each}`),
    ],
    found.join(', '),
  )
}

/** PID 1 is the service itself, and SIGTERM ends it with 0 before the engine loses patience. */
async function leaves(service: string): Promise<string> {
  const first = (await exec(service, 'cat', '/proc/1/cmdline')).split('\0')
  const id = (await compose(project, 'ps', '--quiet', service)).trim()
  const from = performance.now()
  await compose(project, 'stop', service)
  const tookMs = performance.now() - from
  const code = (await docker(['inspect', '--format', '{{.State.ExitCode}}', id])).trim()
  return must(
    [
      ...(first[0] === 'node' ? [] : [`process 1 is ${first.join(' ')}`]),
      ...(code === '0' ? [] : [`code ${code} after ${seconds(tookMs)}`]),
    ],
    `code 0 after ${seconds(tookMs)}`,
  )
}

async function leftOvers(of: string): Promise<string> {
  const filter = ['--quiet', '--filter', `label=com.docker.compose.project=${of}`]
  const [processes, volumes, networks] = await Promise.all([
    docker(['ps', '--all', ...filter]),
    docker(['volume', 'ls', ...filter]),
    docker(['network', 'ls', ...filter]),
  ])
  const count = (text: string) => text.split('\n').filter(Boolean).length
  const left = { containers: count(processes), volumes: count(volumes), networks: count(networks) }
  return must(
    Object.entries(left)
      .filter(([, number]) => number > 0)
      .map(([what, number]) => `${number} ${what}`),
    'no container, volume or network',
  )
}

interface DemoRun {
  readonly books: readonly { name: string; holds: boolean; detail: string }[]
  readonly recoveries: readonly { server: string; healthyMs: number; readyMs: number; settledMs: number }[]
}

/** The film store's own run, with every server killed and restarted in turn while customers order. */
async function underLoad(): Promise<void> {
  const file = join(folder, 'run.json')
  const args = ['--mode', 'compose', '--no-build', '--chaos', 'servers', '--orders', '200', '--concurrency', '20', '--json', file]
  const child = spawn(process.execPath, ['examples/demo/dist/main.js', ...args], { cwd: root, stdio: 'inherit' })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  await check('the demo runs to its end', async () => {
    const code = await ended
    return must(code === 0 ? [] : [`exit code ${code}`], 'exit code 0')
  })
  let told: DemoRun
  try {
    told = JSON.parse(readFileSync(file, 'utf8')) as DemoRun
  } catch {
    return
  }
  for (const { name: entry, holds, detail } of told.books) await check(entry, () => must(holds ? [] : [detail], detail))
  for (const { server, healthyMs, readyMs, settledMs } of told.recoveries) {
    const detail = `healthy after ${seconds(healthyMs)}, all instances ready after ${seconds(readyMs)}, an order settled after ${seconds(settledMs)}`
    await check(`the store recovers from the death of ${server}`, () => must(settledMs - healthyMs < 30_000 ? [] : [detail], detail))
  }
  await check('the demo leaves nothing behind', () => leftOvers(`film-store-demo-${child.pid}`))
}

async function everything(): Promise<void> {
  const upAt = performance.now()
  const isUp = await check('up from nothing with one command', async () => {
    const code = await infra('up', '--metrics')
    return must(code === 0 ? [] : [`exit code ${code}`], seconds(performance.now() - upAt))
  })
  if (!isUp) {
    console.log(await compose(project, 'logs', '--tail', '20'))
    return
  }
  await check('all healthy', async () => {
    const found = await composeContainers(project)
    const ill = found.filter((each) => !isWell(each)).map(({ Service, State, Health }) => `${Service} is ${State} ${Health}`)
    return must(found.length === 21 ? ill : [...ill, `${found.length} containers, not 21`], `${found.length} containers`)
  })
  await check('a customer is served through the gateway', async () => {
    const answer = await fetch(`http://127.0.0.1:${env.FILM_STORE_PORT}/films/1`)
    return must(answer.ok ? [] : [`status ${answer.status}`], ((await answer.json()) as { title: string }).title)
  })
  await check('locked down', lockedDown)
  await check('published beyond this machine', publishedPorts)
  await check('grace period of the services and of the engine', oneGracePeriod)
  await check('passwords', passwords)
  for (const network of Object.keys(expected)) await check(`from inside ${network}`, () => isolation(network))
  await watchChecks({
    project,
    name,
    check,
    shopUrl: `http://127.0.0.1:${shopPort}`,
    prometheusUrl: `http://127.0.0.1:${prometheusPort}`,
    alertmanagerUrl: `http://127.0.0.1:${alertmanagerPort}`,
  })
  await rolloutChecks({ project, shopUrl: `http://127.0.0.1:${shopPort}`, check })
  await check('an order outlives down and up', async () => {
    const url = `http://127.0.0.1:${env.FILM_STORE_PORT}`
    const signedIn = async () => ({ authorization: `Bearer ${await signIn(url, 'somebody')}` })
    const headers = { 'content-type': 'application/json', 'idempotency-key': 'kept-over-a-restart', ...(await signedIn()) }
    const placed = await fetch(`${url}/orders`, { method: 'POST', headers, body: JSON.stringify({ filmId: 1, quantity: 1 }) })
    if (placed.status !== 201) throw new Error(`status ${placed.status}: ${await placed.text()}`)
    const { id } = (await placed.json()) as { id: string }
    const codes = [await infra('down'), await infra('up', '--no-build')]
    const kept = await fetch(`${url}/orders/${id}`, { headers: await signedIn() })
    return must(codes.every((code) => code === 0) && kept.ok ? [] : [`exit codes ${codes.join(' ')}, status ${kept.status}`], id)
  })
  for (const service of services.toReversed()) await check(`SIGTERM to ${service}`, () => leaves(service))
  await check('down --volumes leaves nothing', async () => {
    await infra('down', '--volumes')
    return leftOvers(name)
  })
  await underLoad()
  await drillChecks({ folder, check })
}

if (spawnSync('docker', ['info'], { stdio: 'ignore' }).status !== 0) {
  console.error('No container engine answers; `pnpm infra doctor` says what is missing.')
  process.exit(1)
}
const built = await run(bin('turbo'), ['run', 'build', '--filter=@film-store/demo...', '--output-logs=errors-only'], {
  TURBO_TELEMETRY_DISABLED: '1',
})
if (built !== 0) process.exit(built)
// Ctrl-C reaches the children by itself; what they had started is taken down below.
process.on('SIGINT', () => {})
chmodSync(folder, 0o755)
writeWatch(env.FILM_STORE_WATCH)
try {
  await everything()
} finally {
  await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
  rmSync(folder, { recursive: true, force: true })
}
console.log(`\n${seconds(performance.now() - startedAt)} in all`)
console.log(`${counts.passed} passed, ${counts.failed} failed`)
process.exitCode = counts.failed === 0 ? 0 : 1
