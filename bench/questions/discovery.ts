import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startConsul } from '@platform/stack'
import { type Check, median, type Question, type Row, row } from '../report.ts'

const variants = resolve(import.meta.dirname, '../variants')
const modules = resolve(import.meta.dirname, '../node_modules')

/** What one of five instances does, and the largest share of the requests that it may get after a second, in percent. */
const sick: Readonly<Record<string, number>> = { slow: 2, failing: 1, hung: 1, 'fast 429': 1 }
const balancers = ['ours', 'BalancedPool', 'round robin', 'moleculer, RoundRobin', 'moleculer, Latency', 'moleculer, CpuUsage']
const counts = [10, 100, 1000]

/**
 * How late the timers of well instances may be, which answer in 20 ms. Where they are later the machine makes them as slow as the sick one, nothing is
 * to be told apart, and the round is repeated.
 */
const LATEST_MS = 10

interface Measured {
  readonly lateMs: number
  readonly share: number
  readonly failed: number
}

const callers = (name: string, quick: boolean): Promise<Measured> =>
  run<Measured>([join(variants, 'discovery.ts'), name, ...(quick ? ['quick'] : [])])

async function run<T>(args: readonly string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
  return JSON.parse(stdout) as T
}

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version

const question: Question = {
  title:
    'How much traffic does a sick instance of five draw beside undici and moleculer, with callers that give up, what does a pick cost, and how soon is a change there?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 2 : 5
    // Only ours is judged; the peers take five minutes.
    const compared = quick ? ['ours'] : balancers
    const names = Object.keys(sick).flatMap((kind) => compared.map((balancer) => `${kind}/${balancer}`))
    const shares: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]))
    const failed: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]))
    const lateMs: number[] = []
    /** Of ours, in rounds that the machine was fast enough for. */
    const judged: Record<string, number[]> = Object.fromEntries(Object.keys(sick).map((kind) => [kind, []]))
    let starved = 0
    for (let round = 0; round < rounds; round++) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        let measured = await callers(name, quick)
        for (let again = 0; again < 2 && measured.lateMs > LATEST_MS; again++) measured = await callers(name, quick)
        const [kind, balancer] = name.split('/') as [string, string]
        if (measured.lateMs > LATEST_MS) starved++
        else if (balancer === 'ours') judged[kind]!.push(measured.share)
        lateMs.push(measured.lateMs)
        shares[name]!.push(measured.share)
        failed[name]!.push(measured.failed)
      }
      onProgress(`round ${round + 1} of ${rounds}${starved > 0 ? `, ${starved} measured on a machine that was too busy` : ''}`)
    }
    const rows: Row[] = names.flatMap((name) => {
      const [kind, balancer] = name.split('/') as [string, string]
      return [row(balancer, `share, ${kind}`, '%', shares[name]!), row(balancer, `failed, ${kind}`, '%', failed[name]!)]
    })
    rows.push(row('this machine', 'timers late', 'ms', lateMs))
    for (const count of counts) {
      const cpuUs: number[] = []
      for (let round = 0; round < rounds; round++) {
        const args = ['--conditions=@platform/source', join(variants, 'discovery-pick.ts'), String(count)]
        cpuUs.push((await run<{ cpuUs: number }>(args)).cpuUs)
      }
      rows.push(row('ours', `pick among ${count}`, 'µs CPU', cpuUs))
    }
    const agent = await startConsul({ fresh: true })
    try {
      const times = await run<number[]>([join(variants, 'discovery-change.ts'), agent.url, quick ? '6' : '20'])
      rows.push(row('ours', 'a change in Consul to a set', 'ms', times))
    } finally {
      await agent.stop()
    }
    const checks = Object.entries(sick).map(([kind, target]): Check => {
      const name = `share of one ${kind} of five`
      if (judged[kind]!.length < 2) return { name, target: `< ${target} %`, measured: 'nothing: the machine is too busy', holds: false }
      const share = median(judged[kind]!)
      return { name, target: `< ${target} %`, measured: `${share.toFixed(2)} %`, holds: share < target }
    })
    return { versions: { node: process.versions.node, undici: version('undici'), moleculer: version('moleculer') }, rows, checks }
  },
}

export default question
