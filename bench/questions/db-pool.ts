import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startPostgres } from '@platform/stack'
import pg from 'pg'
import { type Check, median, type Question, type Row, row } from '../report.ts'

const program = resolve(import.meta.dirname, '../variants/db-pool.ts')
const modules = resolve(import.meta.dirname, '../node_modules')
const all = ['ours', 'pg.Pool', 'postgres.js', 'slonik']

const works: Readonly<Record<string, readonly string[]>> = {
  'select@1': all,
  'select@10': [...all, 'ours, reset'],
  'select@100': all,
  'transaction@10': all,
  'violations@10': all,
  'borrow@10': ['ours', 'pg.Pool', 'slonik'],
  kysely: ['ours', 'pg.Pool'],
}

type Measured = { cpuUs: number; perSecond: number }

async function measureOnce<T>(url: string, variant: string, quick: boolean): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, variant, ...(quick ? ['quick'] : [])], {
    timeout: 120_000,
    env: { ...process.env, BENCH_DATABASE_URL: url },
  })
  return JSON.parse(stdout) as T
}

async function prepare(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`create table bench_films (id bigint primary key); insert into bench_films values (1);
    create function bench_echo(int) returns int language sql as 'select $1'`)
  await client.end()
}

const question: Question = {
  title: 'What does a statement through the pool cost beside pg.Pool, postgres.js and slonik, and what happens in a spike?',
  async measure({ quick, onProgress }) {
    await using server = await startPostgres({ fresh: true })
    await prepare(server.url)
    const rounds = quick ? 1 : 5
    const names = Object.entries(works).flatMap(([work, libraries]) => libraries.map((library) => `${work}/${library}`))
    const values = new Map<string, Measured[]>(names.map((name) => [name, []]))
    const spikes = new Map<string, { p99Ms: number; connections: number }[]>([
      ['ours', []],
      ['pg.Pool', []],
    ])
    for (let round = 0; round < rounds; round++) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        values.get(name)?.push(await measureOnce<Measured>(server.url, name, quick))
      }
      for (const [library, seen] of spikes) seen.push(await measureOnce(server.url, `spike/${library}`, quick))
      onProgress(`round ${round + 1} of ${rounds}`)
    }
    const of = (name: string, key: keyof Measured): number[] => (values.get(name) ?? []).map((each) => each[key])
    const rows: Row[] = names.flatMap((name) => {
      const [work = '', library = ''] = name.split('/')
      const [what, callers] = work.split('@')
      const told = callers === undefined ? what! : `${what}, ${callers} at a time`
      return [row(library, told, 'µs CPU', of(name, 'cpuUs')), row(library, told, 'per s', of(name, 'perSecond'))]
    })
    const spiked = (library: string, key: 'p99Ms' | 'connections'): number[] => (spikes.get(library) ?? []).map((each) => each[key])
    for (const library of spikes.keys()) {
      rows.push(
        row(library, 'spike, longest', 'ms', spiked(library, 'p99Ms')),
        row(library, 'spike', 'connections', spiked(library, 'connections')),
      )
    }
    const violations = median(of('violations@10/ours', 'perSecond')) / median(of('violations@10/pg.Pool', 'perSecond'))
    const longest = { ours: median(spiked('ours', 'p99Ms')), theirs: median(spiked('pg.Pool', 'p99Ms')) }
    const connections = { ours: median(spiked('ours', 'connections')), theirs: median(spiked('pg.Pool', 'connections')) }
    const checks: Check[] = [
      { name: '10 % unique violations beside pg.Pool', target: '3 x', measured: `${violations.toFixed(1)} x`, holds: violations >= 3 },
      {
        name: 'longest call of a spike',
        target: 'below pg.Pool',
        measured: `${longest.ours.toFixed(0)} ms, pg.Pool ${longest.theirs.toFixed(0)} ms`,
        holds: longest.ours < longest.theirs,
      },
      {
        name: 'connections after a spike',
        target: 'at most half of pg.Pool',
        measured: `${connections.ours}, pg.Pool ${connections.theirs}`,
        holds: connections.ours * 2 <= connections.theirs,
      },
    ]
    return {
      versions: {
        node: process.versions.node,
        postgresql: server.version,
        ...Object.fromEntries(['pg', 'postgres', 'slonik', 'kysely'].map((name) => [name, version(name)])),
      },
      rows,
      checks,
    }
  },
}

function version(name: string): string {
  return (JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as { version: string }).version
}

export default question
