import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startRedis } from '@platform/stack'
import { type Check, median, type Question, type Row, row } from '../report.ts'

const program = resolve(import.meta.dirname, '../variants/cache.ts')
const inProcesses = resolve(import.meta.dirname, '../variants/cache-processes.ts')
const modules = resolve(import.meta.dirname, '../node_modules')

const inMemory = ['ours', 'bentocache', 'cacheable', 'cache-manager', 'cachified', 'async-cache-dedupe', 'lru-cache.fetch']
const inRedis = ['raw', 'ours', 'bentocache', 'cachified', 'async-cache-dedupe']
const withTags = ['ours', 'bentocache', 'async-cache-dedupe']
const withBus = ['ours', 'bentocache']

/** What the variants call their figures, and what they are. */
const metrics: Readonly<Record<string, readonly [name: string, unit: string]>> = {
  'l1 us': ['hit in memory', 'µs'],
  'l2 seq 200': ['hit in Redis, 200 bytes, one at a time', 'µs'],
  'l2 par 200': ['hit in Redis, 200 bytes, 100 at a time', 'µs'],
  'l2 seq 20000': ['hit in Redis, 20 kB, one at a time', 'µs'],
  'l2 par 20000': ['hit in Redis, 20 kB, 100 at a time', 'µs'],
  'tag us': ['deleteByTag', 'µs'],
  'tag members': ['deleteByTag, members of the tag', 'keys'],
  'heap heap': ['an entry of 200 bytes in memory', 'bytes of heap'],
  'visible median': ['a write in one of four processes until the others have it, median', 'ms'],
  'visible longest': ['a write in one of four processes until the others have it, longest', 'ms'],
  'herd median': ['a cold herd of 4 × 1,000, a load of 50 ms: until the last has it, median', 'ms'],
  'herd longest': ['a cold herd of 4 × 1,000, a load of 50 ms: until the last has it, longest', 'ms'],
  'herd loads': ['a cold herd of 4 × 1,000: loads', 'loads'],
  'bytes bytes': ['an entry of 200 bytes in Redis, with a tag', 'bytes'],
  'stale in memory stale': ['stale reads in memory', 'reads'],
  'stale in memory empty': ['reads in memory that got no value', 'reads'],
  'stale in memory reads': ['stale reads in memory, of', 'reads'],
  'stale in redis stale': ['stale reads over Redis', 'reads'],
  'stale in redis empty': ['reads over Redis that got no value', 'reads'],
  'stale in redis reads': ['stale reads over Redis, of', 'reads'],
}

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version

const question: Question = {
  title:
    'What does a hit cost in memory and in Redis beside bentocache, cacheable, cache-manager, cachified, async-cache-dedupe, lru-cache and a bare GET, who serves stale values, and how do four processes share?',
  async measure({ quick, onProgress }) {
    const server = await startRedis({ fresh: true })
    const once = async (variant: string, url = '', file = program): Promise<Record<string, number>> => {
      const args = ['--expose-gc', file, variant, url, ...(quick ? ['quick'] : [])]
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 300_000 })
      return JSON.parse(stdout) as Record<string, number>
    }
    const found = new Map<string, number[]>()
    const note = (library: string, values: Record<string, number>, kind: string): void => {
      for (const [metric, value] of Object.entries(values)) {
        const name = `${kind} ${metric}/${library}`
        found.set(name, [...(found.get(name) ?? []), value])
      }
    }
    try {
      const rounds = quick ? 1 : 5
      const timed = [...inMemory.map((library) => ['l1', library, '']), ...inRedis.map((library) => ['l2', library, server.url])]
      for (let round = 0; round < rounds; round++) {
        for (const [kind = '', library = '', url] of round % 2 === 0 ? timed : timed.toReversed())
          note(library, await once(`${kind}/${library}`, url), kind)
        onProgress(`round ${round + 1} of ${rounds}`)
      }
      for (const library of withTags) {
        note(library, await once(`tag/${library}`, server.url), 'tag')
        note(library, await once(`bytes/${library}`, server.url), 'bytes')
      }
      for (const library of inMemory) {
        note(library, await once(`heap/${library}`), 'heap')
        note(library, await once(`stale/${library}`), 'stale in memory')
      }
      for (const library of inRedis) note(library, await once(`stale/${library}`, server.url), 'stale in redis')
      for (const library of withBus) note(library, await once(`visible/${library}`, server.url, inProcesses), 'visible')
      for (const library of inRedis.filter((each) => each !== 'raw'))
        note(library, await once(`herd/${library}`, server.url, inProcesses), 'herd')
    } finally {
      await server.stop()
    }
    const rows: Row[] = [...found].map(([name, values]) => {
      const [metric = '', library = ''] = name.split('/')
      return row(library, ...metrics[metric]!, values)
    })
    const of = (name: string): number => median(found.get(name) ?? [Number.NaN])
    const ratio = (name: string, value: number, most: number): Check => ({
      name,
      target: `<= ${most} x`,
      measured: `${value.toFixed(2)} x`,
      holds: value <= most,
    })
    const peers = inMemory.filter((library) => library !== 'ours')
    const fastest = Math.min(...peers.map((library) => of(`l1 us/${library}`)))
    const ours = of('stale in memory stale/ours') + of('stale in redis stale/ours')
    const honest = inRedis.filter((library) => !['ours', 'raw'].includes(library) && of(`stale in redis stale/${library}`) === 0)
    return {
      versions: {
        node: process.versions.node,
        ...Object.fromEntries(
          ['ioredis', 'bentocache', 'cacheable', 'cache-manager', '@epic-web/cachified', 'async-cache-dedupe', 'lru-cache'].map((name) => [
            name,
            version(name),
          ]),
        ),
      },
      rows,
      checks: [
        { name: 'stale reads after a deletion, ours', target: '0', measured: String(ours), holds: ours === 0 },
        ratio('a hit in memory against the fastest peer', of('l1 us/ours') / fastest, 1),
        ...['seq 200', 'par 200'].flatMap((metric) => [
          ratio(`a hit in Redis, ${metric} bytes, against a bare GET`, of(`l2 ${metric}/ours`) / of(`l2 ${metric}/raw`), 1.35),
          ...honest.map((library) =>
            ratio(
              `a hit in Redis, ${metric} bytes, against ${library}, which had no stale read`,
              of(`l2 ${metric}/ours`) / of(`l2 ${metric}/${library}`),
              1,
            ),
          ),
        ]),
        ratio('deleteByTag against the sets of async-cache-dedupe', of('tag us/ours') / of('tag us/async-cache-dedupe'), 0.1),
      ],
    }
  },
}

export default question
