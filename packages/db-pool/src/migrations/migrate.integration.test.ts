import { fork, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testPostgres } from '@platform/stack/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { baselineMigrations, checkMigrations, createDbPool, type DbPool, migrate, migrationStatus } from '../index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool
let directory: string

beforeEach(async () => {
  database = await testPostgres()
  db = createDbPool({ url: database.url })
  directory = await mkdtemp(join(tmpdir(), 'migrations-'))
})
afterEach(async () => {
  await db.close()
  await database.close()
  await rm(directory, { recursive: true })
})

async function files(texts: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(texts)) await writeFile(join(directory, name), text)
}
const tables = async () =>
  (await db.query<{ name: string }>(`select tablename as name from pg_tables where schemaname = 'public' order by 1`)).rows.map(
    ({ name }) => name,
  )
const applied = async () =>
  (await db.query<{ file: string }>('select file from platform_migrations order by platform_migrations.number')).rows.map(
    ({ file }) => file,
  )

describe('migrate', () => {
  it('applies each file once, by number, and only what is new the next time', async () => {
    await files({
      '2-b.sql': 'create table b (a_id int references a)',
      '10_c.sql': 'create table c (); create table d ()',
      'README.md': '',
    })
    await files({ '0001-a.sql': 'create table a (id int primary key)' })
    expect((await migrate(db, { directory })).applied).toEqual(['0001-a.sql', '2-b.sql', '10_c.sql'])
    await files({ '11-e.sql': 'create table e ()' })
    expect((await migrate(db, { directory })).applied).toEqual(['11-e.sql'])
    expect((await migrate(db, { directory })).applied).toEqual([])
    expect(await tables()).toEqual(['a', 'b', 'c', 'd', 'e', 'platform_migrations', 'platform_schema_objects'])
  })

  it('says with dryRun what it would do and does nothing', async () => {
    await files({ '1-a.sql': 'create table a ()' })
    expect((await migrate(db, { directory, dryRun: true })).applied).toEqual(['1-a.sql'])
    expect(await tables()).toEqual([])
  })

  it('leaves nothing of a file that fails, and keeps what came before', async () => {
    await files({ '1-a.sql': 'create table a ()', '2-b.sql': 'create table b (); select no_such_column', '3-c.sql': 'create table c ()' })
    await expect(migrate(db, { directory })).rejects.toMatchObject({
      code: 'ERR_DB_POOL_MIGRATION_FAILED',
      file: '2-b.sql',
      cause: { code: '42703' },
    })
    expect(await tables()).toEqual(['a', 'platform_migrations', 'platform_schema_objects'])
    await files({ '2-b.sql': 'create table b ()' })
    expect((await migrate(db, { directory })).applied).toEqual(['2-b.sql', '3-c.sql'])
  })

  it('refuses a changed file, a late number, a missing file, equal numbers, bad names; other line ends are no change', async () => {
    await files({ '1-a.sql': 'create table a ();\n', '5-b.sql': 'create table b ();\n' })
    await migrate(db, { directory })
    await files({ '1-a.sql': 'create table a ();\r\n' })
    expect((await migrate(db, { directory })).applied).toEqual([])
    await files({ '1-a.sql': 'create table changed ()' })
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_CHANGED', file: '1-a.sql' })
    await files({ '1-a.sql': 'create table a ();\n', '3-late.sql': 'create table late ()' })
    await expect(migrate(db, { directory, dryRun: true })).rejects.toMatchObject({
      code: 'ERR_DB_POOL_MIGRATION_ORDER',
      file: '3-late.sql',
    })
    await rm(join(directory, '3-late.sql'))
    await rm(join(directory, '1-a.sql'))
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_MISSING', file: '1-a.sql' })
    await files({ '1-a.sql': 'create table a ();\n', '05-twin.sql': '' })
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_INVALID' })
    await rm(join(directory, '05-twin.sql'))
    await files({ 'no-number.sql': '' })
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_INVALID', file: 'no-number.sql' })
    await rm(join(directory, 'no-number.sql'))
    await rm(join(directory, '5-b.sql'))
    expect((await migrate(db, { directory })).applied).toEqual([])
  })

  it.for([
    ['a COMMIT of its own', 'create table a (); commit; begin; create table b ()', 'COMMIT'],
    ['a COMMIT behind a comment', '/* ; */ end -- x', 'COMMIT'],
    ['a byte order mark', '\ufeffcreate table a ()', 'byte order mark'],
    ['NUL', 'create table a ()\0', 'NUL'],
    ['data for COPY', 'COPY public.films (id) FROM stdin;\n1\n\\.\n', '--inserts'],
    ['commands of psql', '\\connect other\n', 'psql'],
    ['several statements outside of a transaction', '-- platform: no-transaction\nselect 1; select 2', 'one statement'],
  ] as const)('refuses a file with %s before anything runs', async ([, text, says]) => {
    await files({ '1-a.sql': 'create table first ()', '2-b.sql': text })
    await expect(migrate(db, { directory })).rejects.toMatchObject({
      code: 'ERR_DB_POOL_MIGRATION_INVALID',
      file: '2-b.sql',
      message: expect.stringContaining(says),
    })
    expect(await tables()).toEqual([])
  })

  it('does not refuse what only looks like that', async () => {
    await files({
      '1-a.sql':
        'create function f() returns int language plpgsql as $$ begin return 1; end $$; comment on function f() is \'commit; begin\'; create table a ("end" int)',
    })
    expect((await migrate(db, { directory })).applied).toEqual(['1-a.sql'])
  })

  it('runs a file that says so outside of a transaction, for as long as it takes', async () => {
    await db.close()
    db = createDbPool({ url: database.url, statementTimeoutMs: 100 })
    await files({
      '1-a.sql': 'create table a (id int); select pg_sleep(0.2)',
      '2-index.sql': '-- platform: no-transaction\ncreate index concurrently if not exists a_id on a (id)',
    })
    expect((await migrate(db, { directory })).applied).toEqual(['1-a.sql', '2-index.sql'])
    expect((await db.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '100ms' }])
  })

  it('applies once when processes start at the same time', async () => {
    await files({ '1-a.sql': 'create table a (); select pg_sleep(0.3)', '2-i.sql': 'create table i (id int)' })
    await files({ '3-index.sql': '-- platform: no-transaction\ncreate index concurrently i_id on i (id)' })
    const run = () =>
      new Promise<string[]>((resolve, reject) => {
        const child = fork(join(import.meta.dirname, 'migrate.fixture.ts'), [database.url, directory], {
          execArgv: ['--conditions=@platform/source', '--disable-warning=ExperimentalWarning'],
        })
        child.once('message', (message) => resolve(message as string[]))
        child.once('exit', (code) => reject(new Error(`exit code ${code}`)))
      })
    const results = await Promise.all([run(), run(), run()])
    expect(results.flat().sort()).toEqual(['1-a.sql', '2-i.sql', '3-index.sql'])
    expect(await applied()).toEqual(['1-a.sql', '2-i.sql', '3-index.sql'])
  })

  it('ends with the signal while another holds the lock, and leaves no lock', async () => {
    await files({ '1-a.sql': 'create table a (); select pg_sleep(60)' })
    const first = new AbortController()
    const second = new AbortController()
    const migrating = migrate(db, { directory, signal: first.signal })
    await expect
      .poll(
        async () =>
          (
            await db.query(
              `select 1 from pg_stat_activity where datname = current_database() and state = 'active' and query like '%pg_sleep(60)'`,
            )
          ).rowCount,
        {
          timeout: 20_000,
        },
      )
      .toBe(1)
    const waiting = migrate(db, { directory, signal: second.signal })
    const reason = new Error('no time')
    second.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    first.abort(reason)
    await expect(migrating).rejects.toBe(reason)
    await files({ '1-a.sql': 'create table a ()' })
    expect((await migrate(db, { directory })).applied).toEqual(['1-a.sql'])
  })

  it('begins each file in the same session, whatever the one before it did', async () => {
    await files({
      '1-dump.sql':
        "\\restrict abc\nSET statement_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.films (id integer);\n\\unrestrict abc\n",
      '2-audit.sql':
        'create schema audit; set search_path to audit, public; create table log (x int); create temp table orders (x int); listen x; set role pg_monitor',
      '3-orders.sql': 'create table orders (x int); select pg_advisory_lock(1)',
      '4-index.sql': '-- platform: no-transaction\ncreate index concurrently on orders (x)',
    })
    expect((await migrate(db, { directory })).applied).toHaveLength(4)
    const { rows } = await db.query("select schemaname as schema from pg_tables where tablename = 'orders'")
    expect(rows).toEqual([{ schema: 'public' }])
    expect((await migrate(db, { directory })).applied).toEqual([])
  })

  it('refuses an index that an earlier try left invalid, until it is dropped', async () => {
    await files({
      '1-users.sql': "create table users (mail text); insert into users values ('a'), ('a')",
      '2-unique.sql': '-- platform: no-transaction\ncreate unique index concurrently if not exists users_mail on users (mail)',
    })
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_FAILED', cause: { code: '23505' } })
    await db.query('delete from users where ctid = (select min(ctid) from users)')
    await expect(migrate(db, { directory })).rejects.toMatchObject({
      code: 'ERR_DB_POOL_MIGRATION_INDEX',
      file: '2-unique.sql',
      message: expect.stringContaining('drop index concurrently public.users_mail'),
    })
    expect(await checkMigrations(db, { directory })).toContain('index public.users_mail of users is invalid')
    // Nor does a file inside a transaction take it for done.
    await files({ '2-unique.sql': 'create unique index if not exists users_mail on users (mail)' })
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_INDEX', file: '2-unique.sql' })
    // A file may be what mends it.
    await files({
      '2-unique.sql': '-- platform: no-transaction\ndrop index concurrently users_mail',
      '3-unique.sql': '-- platform: no-transaction\ncreate unique index concurrently if not exists users_mail on users (mail)',
    })
    expect((await migrate(db, { directory })).applied).toEqual(['2-unique.sql', '3-unique.sql'])
    await expect(db.query("insert into users values ('a')")).rejects.toMatchObject({ code: '23505' })
  })

  it('gives way when it gets no lock, and comes again', async () => {
    await files({ '1-a.sql': 'create table a (id int)' })
    await migrate(db, { directory })
    await files({ '2-b.sql': 'alter table a add column b int' })
    const held = Promise.withResolvers<void>()
    const holder = db.transaction(async (tx) => {
      await tx.query('lock table a')
      await held.promise
    })
    await expect
      .poll(async () => (await db.query("select 1 from pg_locks where mode = 'AccessExclusiveLock' and relation = 'a'::regclass")).rowCount)
      .toBe(1)
    await expect(migrate(db, { directory, lockTimeoutMs: 20, maxAttempts: 2 })).rejects.toMatchObject({
      code: 'ERR_DB_POOL_MIGRATION_FAILED',
      cause: { code: '55P03' },
    })
    const patient = migrate(db, { directory, lockTimeoutMs: 20, maxAttempts: 1_000 })
    setTimeout(() => held.resolve(), 300)
    await holder
    expect((await patient).applied).toEqual(['2-b.sql'])
  })

  it('says who it waits for, and not for ever', async () => {
    await files({ '1-a.sql': 'create table a (); select pg_sleep(60)' })
    const leaving = new AbortController()
    const migrating = migrate(db, { directory, signal: leaving.signal })
    const told: object[] = []
    const ignore = (): void => {}
    const logger = { debug: ignore, info: (fields: object) => told.push(fields), warn: ignore, error: ignore }
    await using other = createDbPool({ url: database.url, logger })
    await expect
      .poll(
        async () =>
          (
            await db.query(
              "select 1 from pg_stat_activity where datname = current_database() and state = 'active' and query like '%pg_sleep(60)'",
            )
          ).rowCount,
        {
          timeout: 20_000,
        },
      )
      .toBe(1)
    await expect(migrate(other, { directory, waitTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'ERR_DB_POOL_MIGRATION_LOCKED',
      message: expect.stringMatching(/server process \d+/),
    })
    expect(told).toMatchObject([{ holder: { pid: expect.any(Number) } }])
    leaving.abort(new Error('enough'))
    await expect(migrating).rejects.toThrow('enough')
  })

  it('runs seeds again when they were changed', async () => {
    const seeds = await mkdtemp(join(tmpdir(), 'seeds-'))
    await files({ '1-a.sql': 'create table films (title text primary key)' })
    await writeFile(join(seeds, 'films.sql'), "insert into films values ('Stalker') on conflict do nothing")
    expect(await migrate(db, { directory, seeds })).toEqual({ applied: ['1-a.sql'], seeded: ['films.sql'] })
    expect((await migrate(db, { directory, seeds })).seeded).toEqual([])
    await writeFile(join(seeds, 'films.sql'), "insert into films values ('Stalker'), ('Solaris') on conflict do nothing")
    expect((await migrate(db, { directory, seeds })).seeded).toEqual(['films.sql'])
    expect((await db.query('select 1 from films')).rowCount).toBe(2)
    await rm(seeds, { recursive: true })
  })

  it('finds what was changed by hand', async () => {
    await files({ '1-a.sql': 'create table a (id int); create view v as select id from a' })
    await migrate(db, { directory })
    expect(await checkMigrations(db, { directory })).toEqual([])
    await db.query('alter table a add column by_hand text; create index on a (id); drop view v')
    expect(await checkMigrations(db, { directory })).toEqual([
      'index public.a_id_idx was added outside of the migrations',
      'table public.a was changed outside of the migrations',
      'view public.v was removed outside of the migrations',
    ])
    await files({ '1-a.sql': 'changed' })
    expect(await checkMigrations(db, { directory })).toContain('1-a.sql was changed after it had been applied')
  })

  it('takes over a database that was made without it', async () => {
    await db.query('create table a (id int)')
    await files({ '1-a.sql': 'create table a (id int)', '2-b.sql': 'create table b ()' })
    await expect(baselineMigrations(db, { directory, upTo: '9-z.sql' })).rejects.toMatchObject({ option: 'upTo' })
    expect(await baselineMigrations(db, { directory, upTo: '1-a.sql' })).toEqual(['1-a.sql'])
    await expect(baselineMigrations(db, { directory, upTo: '1-a.sql' })).rejects.toMatchObject({ option: 'upTo' })
    const { applied, pending } = await migrationStatus(db, { directory })
    expect([applied.map(({ file }) => file), pending]).toEqual([['1-a.sql'], ['2-b.sql']])
    expect((await migrate(db, { directory })).applied).toEqual(['2-b.sql'])
  })
})

describe('platform-migrate', () => {
  const run = (...args: string[]) =>
    spawnSync(
      process.execPath,
      ['--conditions=@platform/source', '--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'cli.ts'), ...args],
      {
        encoding: 'utf8',
        env: { ...process.env, DATABASE_URL: database.url },
      },
    )

  it('applies, tells and checks, and its exit code says how it went', async () => {
    await files({ '1-a.sql': 'create table a (id int)' })
    expect(run('status', '--directory', directory)).toMatchObject({ status: 0, stdout: 'pending  1-a.sql\n' })
    expect(run('up', '--directory', directory)).toMatchObject({ status: 0, stdout: 'applied  1-a.sql\n' })
    expect(run('check', '--directory', directory)).toMatchObject({ status: 0 })
    await db.query('drop table a')
    expect(run('check', '--directory', directory)).toMatchObject({
      status: 1,
      stdout: 'table public.a was removed outside of the migrations\n',
    })
    await files({ '2-b.sql': 'no sql' })
    const failed = run('up', '--directory', directory)
    expect(failed.status).toBe(1)
    expect(failed.stderr).toContain('2-b.sql failed')
    expect(run('sideways').status).toBe(2)
    expect(run('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('platform-migrate') })
  })
})
