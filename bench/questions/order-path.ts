import { type Question, row } from '../report.ts'
import { type DemoPart, type DemoRun, runDemo } from '../run-demo.ts'

const modes = ['embedded', 'native'] as const
type Mode = (typeof modes)[number]

const question: Question = {
  title: 'How many orders a second does the film store take, how long does one take under half of that, and what does it cost?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 1 : 5
    const orders = quick ? 100 : 1_000
    const runs: Record<Mode, DemoRun[]> = { embedded: [], native: [] }
    for (let round = 0; round < rounds; round++) {
      for (const mode of round % 2 === 0 ? modes : modes.toReversed()) {
        const run = await runDemo({ mode, orders, seed: round + 1 })
        runs[mode].push(run)
        onProgress(`round ${round + 1} of ${rounds}, ${mode}: ${run.rush.ordersPerSecond.toFixed(0)} orders/s`)
      }
    }
    const versions = Object.assign({}, ...modes.map((mode) => runs[mode][0]!.servers)) as Record<string, string>
    return {
      versions: { node: process.versions.node, ...versions },
      rows: modes.flatMap((mode) => rowsOf(mode, runs[mode])),
      checks: modes.map((mode) => {
        const broken = runs[mode].flatMap((run) => run.books.filter((entry) => !entry.holds))
        return {
          name: `books balance, ${mode}`,
          target: 'every run',
          measured: broken.length === 0 ? `${rounds} of ${rounds} runs` : broken.map(({ name, detail }) => `${name}: ${detail}`).join('; '),
          holds: broken.length === 0,
        }
      }),
    }
  },
}

/** Throughput as the rush has it, latencies under the steady load, processor time of both. */
function rowsOf(mode: Mode, runs: readonly DemoRun[]) {
  const values = (pick: (run: DemoRun) => number) => runs.map(pick)
  const cpu = (part: 'rush' | 'steady') =>
    Object.keys(runs[0]![part].cpu).map((what) =>
      row(
        `${mode} ${part}`,
        what,
        'µs CPU',
        values((run) => run[part].cpu[what] ?? Number.NaN),
      ),
    )
  const steady = (metric: string, pick: (part: DemoPart) => number) =>
    row(
      `${mode} steady`,
      metric,
      'ms',
      values((run) => pick(run.steady)),
    )
  return [
    row(
      `${mode} rush`,
      'throughput',
      'orders/s',
      values((run) => run.rush.ordersPerSecond),
    ),
    steady('order p50', ({ orderP50Ms }) => orderP50Ms),
    steady('order p99', ({ orderP99Ms }) => orderP99Ms),
    steady('page p99', ({ pageP99Ms }) => pageP99Ms),
    ...cpu('rush'),
    ...cpu('steady'),
  ]
}

export default question
