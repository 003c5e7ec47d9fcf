import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const demo = resolve(import.meta.dirname, '../examples/demo/dist/main.js')

export interface DemoPart {
  readonly ordersPerSecond: number
  readonly orderP50Ms: number
  readonly orderP99Ms: number
  readonly pageP99Ms: number
  /** Microseconds by what they were spent for, such as `catalog-api per page`. */
  readonly cpu: Readonly<Record<string, number>>
}

/** What a run of the film store leaves with `--json`. */
export interface DemoRun {
  /** As many customers as there are, without a pause; then half of that at moments of their own. */
  readonly rush: DemoPart
  readonly steady: DemoPart
  readonly books: readonly { name: string; holds: boolean; detail: string }[]
  readonly servers: Readonly<Record<string, string>>
}

/** One run in a process of its own; it is an answer also when its books do not balance. */
export async function runDemo(options: { mode: string; orders: number; seed: number; flags?: readonly string[] }): Promise<DemoRun> {
  const { mode, orders, seed, flags = [] } = options
  const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
  const file = join(folder, 'run.json')
  const args = [demo, '--mode', mode, '--orders', String(orders), '--seed', String(seed), '--json', file, ...flags]
  try {
    const failure = await promisify(execFile)(process.execPath, args, { maxBuffer: 64e6 }).then(
      () => undefined,
      (error: Error) => error,
    )
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as DemoRun
    } catch {
      throw failure ?? new Error(`the demo left no figures in ${file}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
