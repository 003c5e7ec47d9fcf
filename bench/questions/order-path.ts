import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Question, row } from '../report.ts'

const demo = resolve(import.meta.dirname, '../../examples/demo/dist/main.js')
const modes = ['embedded', 'native'] as const

interface Run {
  readonly traffic: { ordersPerSecond: number; orderP50Ms: number; orderP99Ms: number }
  readonly books: readonly { name: string; holds: boolean; detail: string }[]
  readonly servers: Readonly<Record<string, string>>
}

async function runDemo(mode: string, orders: number, seed: number): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
  const file = join(folder, 'run.json')
  try {
    const args = [demo, '--mode', mode, '--orders', String(orders), '--seed', String(seed), '--json', file]
    // A run whose books do not balance exits with 1 and still leaves its figures.
    const failure = await promisify(execFile)(process.execPath, args, { maxBuffer: 64e6 }).then(
      () => undefined,
      (error: Error) => error,
    )
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as Run
    } catch {
      throw failure ?? new Error(`the demo left no figures in ${file}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const question: Question = {
  title: 'How many orders a second does the film store take, and how long does one take, in each mode?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 1 : 5
    const orders = quick ? 100 : 1_000
    const runs: Record<(typeof modes)[number], Run[]> = { embedded: [], native: [] }
    for (let round = 0; round < rounds; round++) {
      for (const mode of round % 2 === 0 ? modes : modes.toReversed()) {
        const run = await runDemo(mode, orders, round + 1)
        runs[mode].push(run)
        onProgress(`round ${round + 1} of ${rounds}, ${mode}: ${run.traffic.ordersPerSecond.toFixed(0)} orders/s`)
      }
    }
    const versions = Object.assign({}, ...modes.map((mode) => runs[mode][0]!.servers)) as Record<string, string>
    const values = (mode: (typeof modes)[number], pick: (run: Run) => number) => runs[mode].map(pick)
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
