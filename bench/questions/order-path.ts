import { type Question, row } from '../report.ts'
import { type DemoRun, runDemo } from '../run-demo.ts'

const modes = ['embedded', 'native'] as const

const question: Question = {
  title: 'How many orders a second does the film store take, and how long does one take, in each mode?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 1 : 5
    const orders = quick ? 100 : 1_000
    const runs: Record<(typeof modes)[number], DemoRun[]> = { embedded: [], native: [] }
    for (let round = 0; round < rounds; round++) {
      for (const mode of round % 2 === 0 ? modes : modes.toReversed()) {
        const run = await runDemo({ mode, orders, seed: round + 1 })
        runs[mode].push(run)
        onProgress(`round ${round + 1} of ${rounds}, ${mode}: ${run.traffic.ordersPerSecond.toFixed(0)} orders/s`)
      }
    }
    const versions = Object.assign({}, ...modes.map((mode) => runs[mode][0]!.servers)) as Record<string, string>
    const values = (mode: (typeof modes)[number], pick: (run: DemoRun) => number) => runs[mode].map(pick)
    return {
      versions: { node: process.versions.node, ...versions },
      rows: modes.flatMap((mode) => [
        row(
          mode,
          'throughput',
          'orders/s',
          values(mode, (run) => run.traffic.ordersPerSecond),
        ),
        row(
          mode,
          'order p50',
          'ms',
          values(mode, (run) => run.traffic.orderP50Ms),
        ),
        row(
          mode,
          'order p99',
          'ms',
          values(mode, (run) => run.traffic.orderP99Ms),
        ),
      ]),
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

export default question
