import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { median, type Question, row } from '../report.ts'

const program = resolve(import.meta.dirname, '../variants/telemetry.ts')
const modules = resolve(import.meta.dirname, '../node_modules')
const what: Readonly<Record<string, string>> = {
  scrape: 'page of 1,000 series',
  record: 'histogram, one record',
  count: 'counter, one addition',
  hook: 'a request: span and duration',
}
const names = ['scrape/ours', 'scrape/prom-client', 'record/ours', 'record/prom-client', 'count/ours', 'count/prom-client', 'hook/ours']

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version

const question: Question = {
  title: 'What do a page of metrics, a measurement and the span of a request cost, beside prom-client?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 3 : 5
    const values: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        const { stdout } = await promisify(execFile)(process.execPath, [program, name, ...(quick ? ['quick'] : [])], { timeout: 120_000 })
        values[name]!.push((JSON.parse(stdout) as { cpuUs: number }).cpuUs)
      }
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const scrape = median(values['scrape/prom-client']!) / median(values['scrape/ours']!)
    return {
      versions: { node: process.versions.node, 'prom-client': version('prom-client') },
      rows: names.map((name) => row(name.split('/')[1]!, what[name.split('/')[0]!]!, 'µs CPU', values[name]!)),
      checks: [{ name: 'a page beside prom-client', target: '1.5x as fast', measured: `${scrape.toFixed(2)}x`, holds: scrape >= 1.5 }],
    }
  },
}

export default question
