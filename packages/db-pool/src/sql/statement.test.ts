import { describe, expect, it } from 'vitest'
import { statementOf } from './statement.ts'

const residue = (text: string) => statementOf(text).residue

describe('what a text may leave in its session', () => {
  it.for([
    'select 1',
    ' /* a /* nested */ banner */ -- and a line\n select title from films where id = $1',
    'select count(*), max(f.price), coalesce(a, b) from films f where id in (1, 2) and exists (select 1 from x) group by (title) order by lower(title)',
    "select 'set search_path to x; listen y', $tag$ listen z; $tag$, E'it\\'s; set x', \"set_config\" from t",
    'insert into public.films (id, title) values ($1, $2) on conflict (id) do update set title = excluded.title returning *',
    'update stock set pieces = pieces - 1 where film = any($1::int[]) returning pieces',
    'delete from only (films) using x where films.id = x.id',
    'with recursive t (n) as (values (1) union all select n + 1 from t where n < 9) select sum(n) filter (where n > 1) over (partition by (n)) from t',
    'select * from films join (select 1 as id) x using (id) limit (2)',
    'select cast(a as numeric(10, 2)), b::varchar(3), pg_catalog.now() from jsonb_to_recordset($1) as x(a int, b text)',
    "select set_config('app.tenant', $1, true)",
    'begin; set local work_mem to 1; savepoint a; rollback to a; commit',
    'notify films',
    'select into_stock, "into" from t',
  ])('nothing: %s', (text) => expect(residue(text)).toBe('none'))

  it.for([
    'select leak()',
    'select public.lower(x)',
    'select "leak" (1)',
    'select "in"(1)',
    'select filter(1), over(2)',
    'select leak/* between */\n(1)',
    'do $$ begin perform 1; end $$',
    'call leak()',
    'create table films (id int)',
    'copy films from stdin',
    "select '\\'",
    'select U&"set\\005fconfig"(1)',
    "select set_config('a', 'b', $1)",
    "select nextval('s')",
    'explain analyze select leak()',
    "select 'never ends",
    'select $$ never ends',
    'select 1 /* never ends /* */',
    'no sql',
  ])('cannot be excluded: %s', (text) => expect(residue(text)).toBe('possible'))

  it.for([
    'set search_path to x',
    'select 1; SET x = 1',
    "select 'a''b'; listen x",
    "select set_config('search_path', 'x', false)",
    'select pg_try_advisory_lock(1)',
    'create or replace temp view films as select 1',
    'create table pg_temp.x (a int)',
    'create function "pg_temp".f() returns int language sql as $$ select 1 $$',
    'select 1 into x',
    'with a as (select 1) select * into temp b from a',
  ])('something, for certain: %s', (text) => expect(residue(text)).toBe('certain'))

  it.for(['prepare a as select 1', 'select 1; deallocate all', "load 'x'", 'select setseed(0.5)'])(
    'until the connection ends: %s',
    (text) => expect(residue(text)).toBe('lasting'),
  )
})

describe('the steps of a transaction', () => {
  it('come in order, with the names that the server keeps', () => {
    const { controls, operation } = statementOf(
      'begin; savepoint Save; release savepoint "Sa""ve"; rollback work to savepoint x; -- commit\n rollback to y; end; abort',
    )
    expect(operation).toBe('BEGIN')
    expect(controls.map(({ verb, name }) => `${verb} ${name}`.trim())).toEqual([
      'begin',
      'savepoint save',
      'release Sa"ve',
      'rollback to x',
      'rollback to y',
      'commit',
      'rollback',
    ])
    expect(statementOf(`savepoint "${'é'.repeat(40)}"`).controls[0]?.name).toBe('é'.repeat(31))
    expect(statementOf("commit prepared 'x'").controls).toEqual([])
  })
})

it('is looked at in time linear in its length, whatever it is made of', () => {
  const banner = '/*=====*/\n/* t */\n/*=====*/\n'
  const pieces = [banner, '/*', '$', '$a', "''", "'", '"', '--\n', 'a.', '(', 'set ', 'e\\', ' ', 'into ', 'f(']
  for (const piece of pieces) {
    const took = (length: number): number => {
      const text = piece.repeat(length / piece.length) + Math.random()
      const since = performance.now()
      statementOf(text)
      return performance.now() - since
    }
    took(20_000)
    // Quadratic would be 16 times, and then some seconds; a busy machine is given a factor of 20.
    expect(took(800_000), `800 kB of ${JSON.stringify(piece)}`).toBeLessThan(4_000)
  }
})
