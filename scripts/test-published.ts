/**
 * What users get, on a Node of theirs: `pnpm test:published --node PATH` runs the packages' suites and the first lines of their READMEs,
 * installed from a registry, on that Node.
 */
import { execFileSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { runId, startConsul, startPostgres, startRabbitmq, startRedis } from '../packages/stack/src/index.ts'
import { allowInstalls } from './allow-installs.ts'
import { bin, requirePinnedNode, root } from './pinned-node.ts'
import { checkPublished } from './published/check.ts'
import { command, run, type StepResult, step } from './step.ts'

requirePinnedNode()
allowInstalls()
const { values } = parseArgs({ options: { node: { type: 'string', default: process.execPath } } })
const version = execFileSync(values.node, ['--version'], { encoding: 'utf8' }).trim()
console.log(`Node ${version} (${values.node})`)

runId()
await using servers = new AsyncDisposableStack()
const progress = { onProgress: (line: string) => console.log(line) }
const started = await Promise.all([startPostgres(progress), startRedis(progress), startRabbitmq(progress), startConsul(progress)])
for (const server of started) servers.use(server)
const [postgres, redis, rabbitmq, consul] = started
const shared = {
  PLATFORM_POSTGRES_URL: postgres.url,
  PLATFORM_REDIS_URL: redis.url,
  PLATFORM_RABBITMQ_URL: rabbitmq.url,
  PLATFORM_CONSUL_URL: consul.url,
}

const steps: StepResult[] = [
  await step('build', command(bin('turbo'), ['run', 'build', '--filter=./packages/*', '--output-logs=errors-only'])),
]
for (const folder of globSync('packages/*/package.json', { cwd: root })
  .map((file) => dirname(file))
  .toSorted()) {
  const suite = async () => {
    const code = await run(values.node, [join(root, 'scripts/run-suite.ts'), 'test'], shared, join(root, folder))
    return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }
  }
  steps.push(await step(`${folder} on ${version}`, suite))
}
const addresses = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, AMQP_URL: rabbitmq.url, CONSUL_URL: consul.url }
steps.push(await step(`published on ${version}`, () => checkPublished(addresses, { [`node ${version}`]: values.node })))

const failed = steps.filter((each) => each.failed > 0)
for (const { name } of failed) console.log(`FAIL ${name}`)
process.exitCode = failed.length === 0 ? 0 : 1
await servers.disposeAsync()
const sum = (key: 'passed' | 'failed') => steps.reduce((total, each) => total + each[key], 0)
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`)
