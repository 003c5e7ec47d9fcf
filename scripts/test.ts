/**
 * The gate: everything that needs no container. One PostgreSQL, Redis, RabbitMQ and Consul serve the whole run.
 * `--containers` tests the containers as well, if an engine answers.
 * `--long [area…]` runs what takes minutes instead, all of it or the areas named: see long-areas.ts.
 */
import { spawn, spawnSync } from 'node:child_process'
import { findOrphans, runId, startConsul, startPostgres, startRabbitmq, startRedis } from '../packages/stack/src/index.ts'
import { allowInstalls } from './allow-installs.ts'
import { chooseAreas, demo, runArea } from './long-areas.ts'
import { bin, requirePinnedNode, root } from './pinned-node.ts'
import { checkPublished } from './published/check.ts'
import { type Counts, command, type StepResult, step } from './step.ts'
import { suiteWithSecondTry } from './suites.ts'

requirePinnedNode()
allowInstalls()
process.env['TURBO_TELEMETRY_DISABLED'] = '1'
const areas = process.argv.includes('--long') ? chooseAreas(process.argv.slice(2).filter((word) => !word.startsWith('--'))) : undefined
const steps: StepResult[] = []

// Drawn before anything starts, so that every server of the run can be found by it.
runId()
const progress = { onProgress: (line: string) => console.log(line) }
await using servers = new AsyncDisposableStack()
const started = await Promise.all([startPostgres(progress), startRedis(progress), startRabbitmq(progress), startConsul(progress)])
for (const server of started) servers.use(server)
const [postgres, redis, rabbitmq, consul] = started
const versions = started.map((server) => `${server.name} ${server.version}`).join(', ')
console.log(`Servers of this run: ${versions}`)
const shared = {
  PLATFORM_STACK_VERSIONS: versions,
  PLATFORM_POSTGRES_URL: postgres.url,
  PLATFORM_REDIS_URL: redis.url,
  PLATFORM_RABBITMQ_URL: rabbitmq.url,
  PLATFORM_CONSUL_URL: consul.url,
}
/** Its last line carries its counts. */
async function testCompose(): Promise<Counts> {
  const child = spawn(process.execPath, ['--conditions=@platform/source', 'scripts/test-compose.ts'], {
    cwd: root,
    stdio: ['inherit', 'pipe', 'inherit'],
  })
  let tail = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    process.stdout.write(text)
    tail = (tail + text).slice(-200)
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  const counts = /(\d+) passed, (\d+) failed\s*$/.exec(tail)
  const [passed, failed] = [Number(counts?.[1] ?? 0), Number(counts?.[2] ?? 1)]
  return { passed, failed: code === 0 ? failed : Math.max(1, failed) }
}

const addresses = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, AMQP_URL: rabbitmq.url, CONSUL_URL: consul.url }

if (areas) {
  steps.push(await step('build', command(bin('turbo'), ['run', 'build', '--output-logs=errors-only'])))
  for (const area of areas) steps.push(...(await runArea(area, { suites: shared, programs: addresses })))
} else {
  steps.push(await step('lint', command(bin('oxlint'), ['--deny-warnings'])))
  steps.push(await step('format', command(bin('biome'), ['format'])))
  steps.push(await step('workflows', command(process.execPath, ['scripts/check-workflows.ts'])))
  steps.push(await step('generated files', command(process.execPath, ['scripts/check-generated.ts'])))
  steps.push(await step('links of the pages', command(process.execPath, ['scripts/check-links.ts'])))
  steps.push(await step('operations', command(process.execPath, ['scripts/check-operations.ts'])))
  steps.push(await step('types of the packages', command(bin('tsc'), ['--noEmit'])))
  steps.push(await step('types of the examples', command(bin('tsc'), ['--noEmit', '-p', 'examples'])))
  steps.push(await step('code blocks of the pages', command(process.execPath, ['scripts/check-documents.ts'])))
  steps.push(await step('build', command(bin('turbo'), ['run', 'build', '--output-logs=errors-only'])))
  steps.push(await step('public surface', command(process.execPath, ['scripts/check-surface.ts'])))
  steps.push(await step('unit and integration', suiteWithSecondTry('test', shared, ['--concurrency=2'])))
  steps.push(await step('chaos', suiteWithSecondTry('chaos', shared, ['--concurrency=1'])))
  steps.push(await step('publish', () => checkPublished(addresses)))
  steps.push(await step('demo embedded', demo('--orders', '200', '--mode', 'embedded')))
  steps.push(await step('demo native', demo('--orders', '200', '--mode', 'native')))
  if (process.argv.includes('--containers')) {
    if (spawnSync('docker', ['info'], { stdio: 'ignore' }).status === 0) {
      steps.push(await step('film store in containers', testCompose))
    } else {
      console.log('\nNo container engine answers: the containers are not tested. `pnpm infra doctor` says what is missing.')
    }
  }
}

steps.push(
  await step('nothing left behind', async () => {
    const orphans = findOrphans()
    for (const { pid, command: line } of orphans) console.error(`process ${pid} has lost its owner: ${line}`)
    return { passed: orphans.length === 0 ? 1 : 0, failed: orphans.length }
  }),
)

const passed = steps.reduce((sum, { passed: count }) => sum + count, 0)
const failed = steps.reduce((sum, { failed: count }) => sum + count, 0)
console.log('')
for (const { name, durationMs, ...counts } of steps) {
  console.log(
    `${counts.failed ? 'FAIL' : ' ok '} ${name.padEnd(40)} ${(durationMs / 1000).toFixed(1).padStart(7)} s  ${counts.passed} passed, ${counts.failed} failed`,
  )
}
// Once more, and last: a log that is cut off at its beginning still tells what failed.
for (const { name, failed: count, reasons = [], flaky = [] } of steps) {
  for (const reason of flaky) console.log(`\n── flaky: ${name}: failed, and passed when run again\n${reason.slice(0, 2_000)}`)
  if (count > 0 && reasons.length === 0) console.log(`\n── failed: ${name}: see its output above`)
  for (const reason of reasons) console.log(`\n── failed: ${name}\n${reason.slice(0, 2_000)}`)
}
process.exitCode = failed === 0 ? 0 : 1
await servers.disposeAsync()
console.log(`\n${passed} passed, ${failed} failed`)
