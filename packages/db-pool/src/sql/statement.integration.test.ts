import { testPostgres } from '@platform/stack/testing'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cleanFunctions } from './functions.ts'
import { statementOf } from './statement.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let client: pg.Client

beforeAll(async () => {
  database = await testPostgres()
  client = new pg.Client({ connectionString: database.url })
  await client.connect()
})
afterAll(async () => {
  await client.end()
  await database.close()
})

it('every function taken for clean is one of the server', async () => {
  const { rows } = await client.query<{ name: string }>(
    `select distinct proname as name from pg_proc where pronamespace = 'pg_catalog'::regnamespace`,
  )
  const names = new Set(rows.map(({ name }) => name))
  // A few are younger than the oldest server that is tried.
  const younger = new Set(['regexp_count', 'regexp_instr', 'regexp_like', 'regexp_substr', 'date_bin', 'range_merge'])
  expect([...cleanFunctions].filter((name) => !names.has(name) && !younger.has(name))).toEqual([])
})

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const facts = `select
  (select coalesce(string_agg(name || '=' || setting, ','), '') from pg_settings where source = 'session') as settings,
  current_setting('app.x', true) is not null and current_setting('app.x', true) <> '' as custom,
  (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())::int as locks,
  (select count(*) from pg_listening_channels())::int as channels,
  (select count(*) from pg_cursors where is_holdable)::int as cursors,
  (select count(*) from pg_prepared_statements where from_sql)::int as prepared,
  (select count(*) from pg_class where relnamespace = pg_my_temp_schema())::int
    + (select count(*) from pg_proc where pronamespace = pg_my_temp_schema())::int as temporary`
const reset =
  "rollback; close all; reset session authorization; reset role; reset all; unlisten *; select pg_advisory_unlock_all(); discard temp; deallocate all; select set_config('app.x', '', false)"

it('of 10,000 generated texts none is taken for clean that changes the session', async () => {
  const seed = Number(process.env['PLATFORM_TEST_SEED'] ?? Date.now() % 2 ** 31)
  console.log(`PLATFORM_TEST_SEED=${seed}`)
  const random = randomFrom(seed)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  await client.query(`create table if not exists films (id int, title text);
    create or replace function leak(int) returns int language plpgsql as $$ begin perform set_config('app.x', 'y', false); return 1; end $$;
    create or replace function filter(int) returns int language plpgsql as $$ begin execute 'listen films'; return 1; end $$;
    create or replace function "in"(int) returns int language plpgsql as $$ begin perform pg_advisory_lock(7); return 1; end $$;
    create or replace procedure dirty() language plpgsql as $$ begin create temp table if not exists dirt (a int); end $$`)
  await client.query(reset)
  const clean = (await client.query(facts)).rows[0]
  const dirty = [
    'set app.x = 1',
    "select set_config('app.x', 'y', false)",
    'listen films',
    'select pg_advisory_lock(1)',
    'select pg_try_advisory_lock_shared(2, 3)',
    'create temp table if not exists t1 (a int)',
    'create temporary view v1 as select 1 as a',
    'select 1 as a into pg_temp.t2',
    'create function pg_temp.f1() returns int language sql as $$ select 1 $$',
    'declare c1 cursor with hold for select 1',
    'prepare p1 as select 1',
    'select leak(1)',
    'select filter(1)',
    'select "in"(1)',
    'call dirty()',
    "do 'begin perform leak(1); end'",
    'explain (analyze) select leak(1)',
    'with a as (select leak(1) as b) select * from a',
    'insert into films values (leak(1))',
    'set session characteristics as transaction read only',
    'set role none; set work_mem = 1000',
  ]
  const harmless = [
    'select 1',
    'select lower(title) from films',
    'values (1)',
    "select ';'",
    'select 1 as "set"',
    'show work_mem',
    'set local work_mem = 999',
  ]
  const gaps = [' ', '\n', '\t', '/* x */', '/* ; /* nested */ */', '-- y\n', '--\n', '/**/', "-- it's\n", '/* $$ */']
  const literals = [
    "'a'",
    "''''",
    "'a''b'",
    "E'\\''",
    "E'a\\\\'",
    '$$x$$',
    "$t$ ' $$ $t$",
    "'--'",
    "'/*'",
    "U&'x'",
    "'\\'",
    "N'x'",
    '$1$1$1',
    '"a""b"',
    "B'1'",
    "'\\''",
    '1e',
    '1.e5',
  ]
  let changing = 0
  const missed: string[] = []
  for (let round = 0; round < 10_000; round++) {
    const gap = (): string => (random() < 0.5 ? ' ' : pick(gaps))
    const words = (text: string): string =>
      text
        .split(' ')
        .map((word) => (random() < 0.2 ? word.toUpperCase() : word))
        .join(' ')
    const piece = (): string => {
      const kind = random()
      if (kind < 0.4) return pick(dirty).replaceAll(' ', gap())
      if (kind < 0.6) return words(pick(harmless)).replaceAll(' ', gap())
      return `select${gap()}${pick(literals)}${gap()}`
    }
    let text = Array.from({ length: 1 + Math.floor(random() * 3) }, piece).join(random() < 0.9 ? ';' : gap())
    // Damage: cut, doubled or swapped characters, so that quotes and comments begin and end anywhere.
    for (let damage = Math.floor(random() * 3); damage > 0; damage--) {
      const at = Math.floor(random() * text.length)
      text =
        text.slice(0, at) +
        pick(['', "'", '"', '$', '$$', '/*', '*/', '--', ';', '\\', '(', 'e']) +
        text.slice(at + (random() < 0.5 ? 1 : 0))
    }
    if (random() < 0.1) await client.query('set standard_conforming_strings = off')
    await client.query(text).catch(() => {})
    const { residue } = statementOf(text)
    // Of the others a part is looked at, to see that they do change sessions.
    if (residue !== 'none' && round % 5 > 0) {
      await client.query(reset)
      continue
    }
    const answers = (await client.query(`rollback; reset standard_conforming_strings; ${facts}`)) as unknown as pg.QueryResult[]
    const left: unknown = answers.at(-1)?.rows[0]
    if (JSON.stringify(left) === JSON.stringify(clean)) continue
    changing++
    if (residue === 'none') missed.push(JSON.stringify({ text, left }))
    await client.query(reset)
  }
  expect(missed).toEqual([])
  expect(changing).toBeGreaterThan(200)
}, 300_000)
