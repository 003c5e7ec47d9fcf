import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startRabbitmq } from '@platform/stack'
import { type Check, median, type Question, type Row, row } from '../report.ts'

const program = resolve(import.meta.dirname, '../variants/queue.ts')
const modules = resolve(import.meta.dirname, '../node_modules')

const libraries = ['ours', 'amqplib', 'rabbitmq-client'] as const
const kinds = ['publish/1', 'publish/64', 'publish/512', 'consume/20', 'consume/300'] as const
/** Of raw amqplib: no client that confirms and validates is faster than the one it stands on. */
const gated: readonly string[] = ['publish/64', 'publish/512', 'consume/20', 'consume/300']
const floor = 0.8

const works: Readonly<Record<string, string>> = {
  'publish/1': 'publish, one at a time',
  'publish/64': 'publish, 64 at a time',
  'publish/512': 'publish, 512 at a time',
  'consume/20': 'consume, prefetch 20',
  'consume/300': 'consume, prefetch 300',
}

interface Measured {
  readonly perSecond: number
  readonly cpuUs: number
}

async function measureOnce(library: string, kind: string, quick: boolean): Promise<Measured> {
  const [what = '', window = ''] = kind.split('/')
  const full = what === 'publish' && window === '1' ? 2_000 : 20_000
  // A broker of its own: what one leaves behind must not slow the next.
  const server = await startRabbitmq({ fresh: true })
  try {
    const args = [program, library, what, window, String(quick ? full / 10 : full), server.url]
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 180_000 })
    return JSON.parse(stdout) as Measured
  } finally {
    await server.stop()
  }
}

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version

const question: Question = {
  title: 'How many messages of 1 kB go through a quorum queue, confirmed and acknowledged, beside raw amqplib and rabbitmq-client?',
  async measure({ quick, onProgress }) {
    const rounds = quick ? 1 : 3
    const names = kinds.flatMap((kind) => libraries.map((library) => `${kind} ${library}`))
    const measured: Record<string, Measured[]> = Object.fromEntries(names.map((name) => [name, []]))
    for (let round = 0; round < rounds; round += 1) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        const [kind = '', library = ''] = name.split(' ')
        measured[name]!.push(await measureOnce(library, kind, quick))
      }
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const rows: Row[] = names.flatMap((name) => {
      const [kind = '', library = ''] = name.split(' ')
      return [
        row(
          library,
          works[kind]!,
          'per s',
          measured[name]!.map(({ perSecond }) => perSecond),
        ),
        row(
          library,
          `${works[kind]}, CPU`,
          'µs',
          measured[name]!.map(({ cpuUs }) => cpuUs),
        ),
      ]
    })
    const of = (name: string): number => median(measured[name]!.map(({ perSecond }) => perSecond))
    const checks: Check[] = gated.map((kind) => {
      const ratio = of(`${kind} ours`) / of(`${kind} amqplib`)
      return {
        name: `${works[kind]}, against raw amqplib`,
        target: `>= ${floor} x`,
        measured: `${ratio.toFixed(2)} x`,
        holds: ratio >= floor,
      }
    })
    const versions = { node: process.versions.node, amqplib: version('amqplib'), 'rabbitmq-client': version('rabbitmq-client') }
    return { versions, rows, checks }
  },
}

export default question
