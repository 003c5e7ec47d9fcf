import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Check, median, type Question, type Row, row } from '../report.ts'

const program = resolve(import.meta.dirname, '../variants/resilience.ts')
const modules = resolve(import.meta.dirname, '../node_modules')

const timed: Readonly<Record<string, readonly string[]>> = {
  chain: ['ours', 'cockatiel'],
  'chain with signal': ['ours', 'cockatiel'],
  breaker: ['ours', 'opossum', 'cockatiel'],
  open: ['ours', 'opossum', 'cockatiel'],
  'failed@1000': ['ours', 'opossum', 'cockatiel'],
  'failed@50000': ['ours', 'opossum', 'cockatiel'],
  'limit, one key': ['ours', 'flexible'],
  'limit, 10,000 keys': ['ours', 'flexible'],
}
/** What the variants call their work, and what it is. */
const works: Readonly<Record<keyof typeof timed, string>> = {
  chain: 'timeout, retry, breaker, bulkhead, attempt timeout',
  'chain with signal': 'the same, with work that listens on its signal',
  breaker: 'breaker, closed',
  open: 'breaker, open: a rejection',
  'failed@1000': 'a failed call, 1,000 calls in the window',
  'failed@50000': 'a failed call, 50,000 calls in the window',
  'limit, one key': 'rate limit, one key',
  'limit, 10,000 keys': 'rate limit, 10,000 keys',
}
const failing = [0.05, 0.2, 0.5, 1]

async function measureOnce<T>(variant: string, quick: boolean): Promise<T> {
  const args = ['--expose-gc', program, variant, ...(quick ? ['quick'] : [])]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 })
  return JSON.parse(stdout) as T
}

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version

const question: Question = {
  title:
    'What does a call through a policy cost beside opossum, cockatiel and rate-limiter-flexible, and how do retries load a failing service?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 3 : 5
    const names = Object.entries(timed).flatMap(([kind, libraries]) => libraries.map((library) => `${kind}/${library}`))
    const cpuUs: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        cpuUs[name]!.push((await measureOnce<{ cpuUs: number }>(name, quick)).cpuUs)
      }
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const rows: Row[] = names.map((name) => {
      const [work = '', library = ''] = name.split('/')
      return row(library === 'flexible' ? 'rate-limiter-flexible' : library, works[work]!, 'µs CPU', cpuUs[name]!)
    })
    for (const rate of failing) {
      for (const library of ['ours', 'naive']) {
        const { load, succeeded } = await measureOnce<{ load: number; succeeded: number }>(`retry@${rate}/${library}`, quick)
        rows.push(
          row(library, `requests for one call with retries, ${rate * 100} % fail`, 'x', [load]),
          row(library, `succeeded, ${rate * 100} % fail`, '%', [succeeded]),
        )
      }
    }
    const { bytes } = await measureOnce<{ bytes: number }>('memory', quick)
    rows.push(row('ours', 'a key of a group, with its breaker', 'bytes', [bytes]))
    const of = (name: string): number => median(cpuUs[name]!)
    const ratio = (name: string, target: string, value: number, holds: boolean): Check => ({
      name,
      target,
      measured: `${value.toFixed(2)} x`,
      holds,
    })
    const chainRatio = of('chain/cockatiel') / of('chain/ours')
    const signalRatio = of('chain with signal/cockatiel') / of('chain with signal/ours')
    const windowRatio = of('failed@50000/ours') / of('failed@1000/ours')
    const openRatio = Math.min(of('open/opossum'), of('open/cockatiel')) / of('open/ours')
    return {
      versions: {
        node: process.versions.node,
        opossum: version('opossum'),
        cockatiel: version('cockatiel'),
        'rate-limiter-flexible': version('rate-limiter-flexible'),
      },
      rows,
      checks: [
        ratio(
          "timeout, retry, breaker, bulkhead, attempt timeout against cockatiel's wrap of the same",
          '>= 5 x faster',
          chainRatio,
          chainRatio >= 5,
        ),
        ratio('the same, with work that listens on its signal', '>= 4 x faster', signalRatio, signalRatio >= 4),
        { name: 'a key of a group with a breaker', target: '<= 1536 bytes', measured: `${Math.round(bytes)} bytes`, holds: bytes <= 1536 },
        ratio('a failed call with 50,000 calls in the window against 1,000', '<= 2 x the cost', windowRatio, windowRatio <= 2),
        ratio('rejection while open against the faster of opossum and cockatiel', '>= 3 x faster', openRatio, openRatio >= 3),
      ],
    }
  },
}

export default question
