import { fork } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testPostgres } from '@platform/stack/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDbPool, type DbPool, migrate } from '../index.ts'

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
    expect(await tables()).toEqual(['a', 'b', 'c', 'd', 'e', 'platform_migrations'])
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
    expect(await tables()).toEqual(['a', 'platform_migrations'])
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

  it('refuses a file that ends its transaction itself', async () => {
    await files({ '1-a.sql': 'create table a (); commit; begin; create table b ()' })
    await expect(migrate(db, { directory })).rejects.toMatchObject({ code: 'ERR_DB_POOL_MIGRATION_INVALID', file: '1-a.sql' })
    expect(await applied()).toEqual([])
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
      .poll(async () => (await db.query(`select 1 from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)'`)).rowCount, {
        timeout: 20_000,
      })
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
})
