import { appendFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filmStore, infra as runInfra, ownStore } from '@film-store/containers'
import { freePort } from '@platform/stack'
import { compose, docker } from '@platform/stack/compose'
import { measureOperations, memoryOf, type OperationsCost } from '../operations.ts'
import { type Question, type Report, type Row, row } from '../report.ts'
import { type DemoRun, runDemo } from '../run-demo.ts'
import { root, runRoot } from '../run-root.ts'

const images = ['catalog-api', 'orders-api', 'fulfilment-worker'].map((service) => `film-store/${service}`)
const megabyte = 1e6

async function sizeOf(image: string): Promise<number> {
  return Number(await docker(['image', 'inspect', '--format', '{{.Size}}', image]))
}

/** Builds the image of orders-api from a copy of the sources, before and after one more line in its own code. */
async function rebuild(times: number, onProgress: (line: string) => void): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
  try {
    const files = (await runRoot('git', ['ls-files', '--cached', '--others', '--exclude-standard'])).split('\n')
    for (const file of files.filter((each) => !/^(bench|docs)\//.test(each) && each !== '')) {
      try {
        cpSync(join(root, file), join(folder, file))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // deleted, but not yet committed
      }
    }
    const build = async () => {
      const startedAt = performance.now()
      const what = ['--file', join(folder, 'docker/Dockerfile'), '--build-arg', 'SERVICE=orders-api', '--tag', 'film-store/bench']
      await docker(['build', '--quiet', ...what, folder])
      return performance.now() - startedAt
    }
    onProgress(`image of orders-api from the sources as they are: ${((await build()) / 1000).toFixed(1)} s`)
    const took: number[] = []
    for (let round = 0; round < times; round++) {
      appendFileSync(join(folder, 'examples/orders-api/src/main.ts'), `\nlogger.debug({ round: ${Date.now()} }, 'one more line')\n`)
      took.push(await build())
      onProgress(`rebuilt after a one-line change: ${(took.at(-1)! / 1000).toFixed(1)} s`)
    }
    return took
  } finally {
    await docker(['image', 'rm', '--force', 'film-store/bench'])
    rmSync(folder, { recursive: true, force: true })
  }
}

const question: Question = {
  title:
    'How long do the containers take to start and to rebuild, what do they weigh, what do they cost in throughput, and what does it take to run them?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 1 : 3
    const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
    const env = ownStore({
      COMPOSE_PROJECT_NAME: 'film-store-bench',
      FILM_STORE_SECRETS: join(folder, 'secrets'),
      FILM_STORE_PORT: String(await freePort()),
    })
    const project = filmStore([], env)
    const infra = (...args: string[]) => runInfra(args, env)
    const start = async () => {
      const startedAt = performance.now()
      await infra('up', '--no-build')
      return performance.now() - startedAt
    }
    const cold: number[] = []
    const warm: number[] = []
    const memory: Map<string, number>[] = []
    try {
      if (!quick || (await docker(['images', '--quiet', ...images.slice(0, 1)])).trim() === '') {
        onProgress('building the images')
        await compose(project, '--progress=quiet', 'build')
      }
      for (let round = 0; round < rounds; round++) {
        cold.push(await start())
        onProgress(`healthy from nothing: ${(cold.at(-1)! / 1000).toFixed(1)} s`)
        memory.push(await memoryOf(project))
        await infra('down')
        warm.push(await start())
        onProgress(`healthy with the data of before: ${(warm.at(-1)! / 1000).toFixed(1)} s`)
        await infra('down', '--volumes')
      }
    } finally {
      await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
      rmSync(folder, { recursive: true, force: true })
    }
    const sizes = await Promise.all(images.map(sizeOf))
    const rebuilt = await rebuild(rounds, onProgress)
    const runs: Record<'compose' | 'native', DemoRun[]> = { compose: [], native: [] }
    for (let round = 0; round < (quick ? 0 : rounds); round++) {
      for (const mode of round % 2 === 0 ? (['compose', 'native'] as const) : (['native', 'compose'] as const)) {
        const found = await runDemo({ mode, orders: 500, seed: round + 1, flags: mode === 'compose' ? ['--no-build'] : [] })
        runs[mode].push(found)
        onProgress(`round ${round + 1} of ${rounds}, ${mode}: ${found.rush.ordersPerSecond.toFixed(0)} orders/s`)
      }
    }
    const operations = await measureOperations(quick, onProgress)
    return report({ cold, warm, memory, sizes, rebuilt, runs, operations })
  },
}

interface Measured {
  readonly cold: readonly number[]
  readonly warm: readonly number[]
  readonly memory: readonly ReadonlyMap<string, number>[]
  readonly sizes: readonly number[]
  readonly rebuilt: readonly number[]
  readonly runs: Readonly<Record<'compose' | 'native', readonly DemoRun[]>>
  readonly operations: OperationsCost
}

async function report({
  cold,
  warm,
  memory,
  sizes,
  rebuilt,
  runs,
  operations,
}: Measured): Promise<Pick<Report, 'versions' | 'rows' | 'checks'>> {
  const inSeconds = (values: readonly number[]) => values.map((ms) => ms / 1000)
  const total = memory.map((containers) => [...containers.values()].reduce((sum, bytes) => sum + bytes, 0) / megabyte)
  const names = [...memory[0]!.keys()].toSorted()
  const throughput = (['compose', 'native'] as const).filter((mode) => runs[mode].length > 0)
  const worst = {
    warm: Math.max(...warm) / 1000,
    memory: Math.max(...total),
    size: Math.max(...sizes) / megabyte,
    rebuild: Math.max(...rebuilt) / 1000,
  }
  const limit = (name: string, value: number, below: number, unit: string) => ({
    name,
    target: `< ${below} ${unit}`,
    measured: `${value.toFixed(1)} ${unit}`,
    holds: value < below,
  })
  return {
    versions: {
      node: process.versions.node,
      engine: (await docker(['version', '--format', '{{.Server.Version}}'])).trim(),
      compose: (await docker(['compose', 'version', '--short'])).trim(),
    },
    rows: [
      row('start', 'from nothing', 's', inSeconds(cold)),
      row('start', 'with its data', 's', inSeconds(warm)),
      row('rebuild', 'one line', 's', inSeconds(rebuilt)),
      ...images.map((image, index) => row(image, 'image', 'MB', [sizes[index]! / megabyte])),
      ...names.map((name) =>
        row(
          name,
          'memory',
          'MB',
          memory.map((containers) => (containers.get(name) ?? Number.NaN) / megabyte),
        ),
      ),
      row('core', 'memory', 'MB', total),
      ...operationRows(operations),
      ...throughput.flatMap((mode) => [
        row(
          mode,
          'throughput',
          'orders/s',
          runs[mode].map(({ rush }) => rush.ordersPerSecond),
        ),
        row(
          mode,
          'order p99',
          'ms',
          runs[mode].map(({ steady }) => steady.orderP99Ms),
        ),
      ]),
    ],
    checks: [
      limit('core healthy, warm', worst.warm, 90, 's'),
      limit('memory of core', worst.memory, 1_500, 'MB'),
      limit('largest image of a service', worst.size, 350, 'MB'),
      limit('rebuild after a one-line change', worst.rebuild, 30, 's'),
      limit('memory of core and metrics', operations.profiles.find(({ name }) => name === 'core, metrics')!.memory / megabyte, 2_000, 'MB'),
      ...throughput.map((mode) => {
        const broken = runs[mode].flatMap(({ books }) => books.filter((entry) => !entry.holds))
        return {
          name: `books balance, ${mode}`,
          target: 'every run',
          measured: broken.length === 0 ? `${runs[mode].length} runs` : broken.map(({ name, detail }) => `${name}: ${detail}`).join('; '),
          holds: broken.length === 0,
        }
      }),
    ],
  }
}

function operationRows({ profiles, rolloutMs, scrape, failovers, restoreMs }: OperationsCost): Row[] {
  return [
    ...profiles.flatMap(({ name, startMs, memory }) => [
      row(name, 'healthy from nothing', 's', [startMs / 1000]),
      row(name, 'memory', 'MB', [memory / megabyte]),
    ]),
    row('rollout of catalog-api', 'two instances, under load', 's', [rolloutMs / 1000]),
    row('scrape', 'of a target', 'ms', [scrape.seconds * 1000]),
    row('scrape', 'samples of all targets', '', [scrape.samples]),
    row('prometheus', 'processor', '%', [scrape.processor * 100]),
    ...failovers.flatMap(({ server, ledMs, flowsMs }) => [
      row(`death of ${server}`, 'another leads', 's', [ledMs / 1000]),
      row(`death of ${server}`, 'an order is settled', 's', [flowsMs / 1000]),
    ]),
    ...(restoreMs === undefined ? [] : [row('restore', 'everything settled again', 's', [restoreMs / 1000])]),
  ]
}

export default question
