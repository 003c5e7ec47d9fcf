/** The containers' gate: up from nothing, locked down, cut off from each other, broken one by one under load, gone without a trace. */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  allProfiles,
  filmStore,
  ownStore,
  reachLogs,
  reachWatched,
  rotateCredentials,
  servedInPlainText,
  signIn,
  strayReach,
  writeWatch,
} from '../examples/containers/src/index.ts'
import { compose, composeContainers, isWell } from '../packages/stack/src/compose.ts'
import { freePort } from '../packages/stack/src/index.ts'
import { check, counts, leavesNothing, must, seconds } from './compose/check.ts'
import { deployChecks } from './compose/deploy-checks.ts'
import { gathererStandIns } from './compose/gatherers.ts'
import { haChecks } from './compose/ha-checks.ts'
import { logsChecks } from './compose/logs-checks.ts'
import { operatorChecks } from './compose/operator-checks.ts'
import { rehearsalChecks } from './compose/rehearsal-checks.ts'
import { rolloutChecks, served } from './compose/rollout-checks.ts'
import {
  leaves,
  leavesAmidBackup,
  lockedDown,
  oneGracePeriod,
  passwords,
  publishedPorts,
  secretsShown,
  services,
} from './compose/store-checks.ts'
import { watchChecks } from './compose/watch-checks.ts'
import { bin, requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'
import { suite } from './suites.ts'

requirePinnedNode()
/**
 * Each brings up a store of its own and leaves nothing. `failover`, `ha`, `rehearse`, `stack` and `deploy` are long, `test:long` runs them as well; `logs`
 * needs images that not every machine can have.
 */
const pieces: Readonly<Record<string, () => Promise<void>>> = {
  store,
  chaos: underLoad,
  drill: () => rehearsalChecks('drill', 'film-store-drill-'),
  tls: () => rehearsalChecks('rehearse-tls', 'film-store-demo-'),
  failover: () => rehearsalChecks('failover', 'film-store-demo-'),
  ha: haChecks,
  stack: () => command('the stack is deployed, replaced and goes back', 'rehearse-stack'),
  rehearse: () => command('every alert fires, finds its receiver and resolves', 'rehearse', '--no-build'),
  deploy: deployChecks,
  logs: logsChecks,
  packages: packageSuites,
}
const usual = ['store', 'chaos', 'drill', 'tls', 'packages']
const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !(name in pieces))
if (unknown.length > 0) {
  console.error(`no piece is called ${unknown.join(', ')}: ${Object.keys(pieces).join(', ')}`)
  process.exit(1)
}
const startedAt = performance.now()

/** A command of `infra` that says itself what held. */
async function command(what: string, ...args: string[]): Promise<void> {
  await check(what, async () => {
    const code = await run(process.execPath, ['scripts/infra.ts', ...args])
    return must(code === 0 ? [] : [`exit code ${code}`], 'exit code 0')
  })
}

async function store(): Promise<void> {
  const name = `film-store-test-${process.pid}`
  const folder = mkdtempSync(join(tmpdir(), 'film-store-test-'))
  const secrets = join(folder, 'secrets')
  const [shopPort, prometheusPort, alertmanagerPort] = [await freePort(), await freePort(), await freePort()]
  const env = ownStore({
    COMPOSE_PROJECT_NAME: name,
    FILM_STORE_SECRETS: secrets,
    FILM_STORE_WATCH: join(folder, 'watch'),
    FILM_STORE_PORT: String(shopPort),
    FILM_STORE_PROMETHEUS_PORT: String(prometheusPort),
    FILM_STORE_ALERTMANAGER_PORT: String(alertmanagerPort),
  })
  const project = filmStore([], env, allProfiles)
  const infra = (...args: string[]) => run(process.execPath, ['scripts/infra.ts', ...args], env)
  const shopUrl = `http://127.0.0.1:${shopPort}`
  const prometheusUrl = `http://127.0.0.1:${prometheusPort}`
  chmodSync(folder, 0o755)
  writeWatch(env.FILM_STORE_WATCH)
  try {
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
      const answer = await fetch(`${shopUrl}/films/1`)
      return must(answer.ok ? [] : [`status ${answer.status}`], ((await answer.json()) as { title: string }).title)
    })
    await check('locked down', () => lockedDown(project))
    await check('published beyond this machine', () => publishedPorts(project))
    await check('grace period of the services and of the engine', () => oneGracePeriod(project))
    await check('passwords', () => passwords(project, secrets))
    await check('no password is shown', () => secretsShown(project, secrets))
    for (const network of Object.keys(reachWatched))
      await check(`from inside ${network}`, async () =>
        must(await strayReach(name, reachWatched, [network]), reachWatched[network]!.join(', ')),
      )
    await check('from inside each network, with what gathers lines', async () => {
      await using _standIns = await gathererStandIns(project)
      return must(await strayReach(name, reachLogs), 'stand-ins at the ports of Elasticsearch, Logstash, Kibana, Jaeger and Grafana')
    })
    await check('who serves in plain text is found out', async () => {
      const doors = ['postgres:5432', 'redis:6379', 'rabbitmq:5672', 'consul:8500', 'catalog-api-1:3000', 'orders-api-2:9000']
      const found = await servedInPlainText(`${name}_data`, doors)
      return must(
        doors.filter((door) => !found.some((each) => each.startsWith(door))).map((door) => `${door} is not seen`),
        `${doors.length} doors of a store without TLS`,
      )
    })
    await watchChecks({ project, name, check, shopUrl, prometheusUrl, alertmanagerUrl: `http://127.0.0.1:${alertmanagerPort}` })
    await rolloutChecks({ project, shopUrl, prometheusUrl, check })
    await operatorChecks({ project, shopUrl, check })
    await check('every service gets its other user under load', () =>
      served(shopUrl, () => rotateCredentials({ project, secrets, onProgress: () => {} })),
    )
    await check('an order outlives down and up', async () => {
      const signedIn = async () => ({ authorization: `Bearer ${await signIn(shopUrl, 'somebody')}` })
      const headers = { 'content-type': 'application/json', 'idempotency-key': 'kept-over-a-restart', ...(await signedIn()) }
      const placed = await fetch(`${shopUrl}/orders`, { method: 'POST', headers, body: JSON.stringify({ filmId: 1, quantity: 1 }) })
      if (placed.status !== 201) throw new Error(`status ${placed.status}: ${await placed.text()}`)
      const { id } = (await placed.json()) as { id: string }
      const codes = [await infra('down'), await infra('up', '--no-build')]
      const kept = await fetch(`${shopUrl}/orders/${id}`, { headers: await signedIn() })
      return must(codes.every((code) => code === 0) && kept.ok ? [] : [`exit codes ${codes.join(' ')}, status ${kept.status}`], id)
    })
    await check('the container of backups leaves amid a backup', () => leavesAmidBackup(project))
    for (const service of services.toReversed()) await check(`SIGTERM to ${service}`, () => leaves(project, service))
    await check('down --volumes leaves nothing', async () => {
      await infra('down', '--volumes')
      return leavesNothing(name)
    })
  } finally {
    await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }
}

interface DemoRun {
  readonly books: readonly { name: string; holds: boolean; detail: string }[]
  readonly recoveries: readonly { server: string; healthyMs: number; readyMs: number; settledMs: number }[]
}

/** The film store's own run, with every server killed and restarted in turn while customers order. */
async function underLoad(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'film-store-test-'))
  const file = join(folder, 'run.json')
  const args = ['--mode', 'compose', '--no-build', '--chaos', 'servers', '--orders', '200', '--concurrency', '20', '--json', file]
  const child = spawn(process.execPath, ['examples/demo/dist/main.js', ...args], { cwd: root, stdio: 'inherit' })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  await check('the demo runs to its end', async () => {
    const code = await ended
    return must(code === 0 ? [] : [`exit code ${code}`], 'exit code 0')
  })
  try {
    const told = JSON.parse(readFileSync(file, 'utf8')) as DemoRun
    for (const { name: entry, holds, detail } of told.books) await check(entry, () => must(holds ? [] : [detail], detail))
    for (const { server, healthyMs, readyMs, settledMs } of told.recoveries) {
      const detail = `healthy after ${seconds(healthyMs)}, all instances ready after ${seconds(readyMs)}, an order settled after ${seconds(settledMs)}`
      await check(`the store recovers from the death of ${server}`, () => must(settledMs - healthyMs < 30_000 ? [] : [detail], detail))
    }
  } catch {
    // It ended before there was anything to tell, which has been counted.
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  await check('the demo leaves nothing behind', () => leavesNothing(`film-store-demo-${child.pid}`))
}

/** What packages keep for containers: the generations of RabbitMQ that no machine has, and a cluster whose node is killed. */
async function packageSuites(): Promise<void> {
  const { passed, failed, reasons = [] } = await suite('container', {}, ['--concurrency=1'])()
  for (const reason of reasons) console.log(`FAIL ${reason}`)
  counts.passed += passed
  counts.failed += failed
}

if (spawnSync('docker', ['info'], { stdio: 'ignore' }).status !== 0) {
  console.error('No container engine answers; `pnpm infra doctor` says what is missing.')
  process.exit(1)
}
const built = await run(bin('turbo'), ['run', 'build', '--filter=@film-store/demo...', '--output-logs=errors-only'], {
  TURBO_TELEMETRY_DISABLED: '1',
})
if (built !== 0) process.exit(built)
// Whatever the pieces start themselves is brought up to date once.
if (await run(process.execPath, ['scripts/infra.ts', 'build'])) process.exit(1)
// Ctrl-C reaches the children by itself; what they had started is taken down in the pieces.
process.on('SIGINT', () => {})
for (const name of asked.length > 0 ? asked : usual) {
  console.log(`\n${name}`)
  await pieces[name]!()
}
console.log(`\n${seconds(performance.now() - startedAt)} in all`)
console.log(`${counts.passed} passed, ${counts.failed} failed`)
process.exitCode = counts.failed === 0 ? 0 : 1
