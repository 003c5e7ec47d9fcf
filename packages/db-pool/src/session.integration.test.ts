import { describe, expect, it, vi } from 'vitest'
import { backend, testPools, until } from './pools.fixture.ts'

const database = testPools()
const { open } = database

describe('cancellation', () => {
  it('ends the statement on the server', async () => {
    const db = open({ applicationName: 'cancelled' })
    const controller = new AbortController()
    const reason = new Error('too long')
    const running = db.query('select pg_sleep(60)', [], { signal: controller.signal })
    await until(() => db.stats().inUse === 1)
    controller.abort(reason)
    await expect(running).rejects.toBe(reason)
    await until(async () => {
      const { rows } = await database.admin.query(
        `select 1 from pg_stat_activity where datname = current_database() and application_name = 'cancelled' and state = 'active'`,
      )
      return rows.length === 0 && db.stats().inUse === 0
    })
    expect(db.stats().open).toBe(1)
  })

  it('that overtakes its statement is repeated', async () => {
    const db = open({ maxSize: 1, cancelTimeoutMs: 20_000 })
    const pid = await backend(db)
    for (let round = 0; round < 30; round++) {
      const controller = new AbortController()
      const aborted = db.query('select pg_sleep(60)', [], { signal: controller.signal }).catch(() => {})
      controller.abort()
      await aborted
      await db.drain()
    }
    expect(await backend(db)).toBe(pid)
  })

  it('of one statement leaves those beside it on the same connection alone', async () => {
    const db = open({ maxSize: 1 })
    const controller = new AbortController()
    const reason = new Error('not this one')
    await db.withConnection(async (connection) => {
      const running = connection.query('select 1 as one, pg_sleep(0.1)')
      const queued = connection.query('select 2', [], { signal: controller.signal }).catch((error: unknown) => error)
      controller.abort(reason)
      expect(await queued).toBe(reason)
      expect((await running).rows).toMatchObject([{ one: 1 }])
    })
  })

  it('never hits the next borrower', async () => {
    const db = open({ maxSize: 1 })
    const pid = await backend(db)
    for (let round = 0; round < 300; round++) {
      const controller = new AbortController()
      // Of about the length of the abort's way, so that the two race.
      const aborted = db.query('select pg_sleep($1)', [(round % 10) / 10_000], { signal: controller.signal }).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, round % 3))
      controller.abort()
      const next = await Promise.all([db.query('select pg_sleep(0.001)'), db.query('select 1')])
      expect(next).toHaveLength(2)
      await aborted
    }
    expect(await backend(db)).toBe(pid)
  })
})

describe('a connection that comes back', () => {
  const settings = "select current_setting('search_path') as path, current_setting('role') as role"

  it.for([
    ['an open transaction', 'begin; create temp table leaked (id int)'],
    ['a failed transaction', 'begin; select 1'],
    ['settings', 'set search_path to nowhere; set role none; set statement_timeout to 1'],
    ['settings behind a comment', '/* x */ -- y\n set search_path to nowhere'],
    ['settings by function', "select set_config('search_path', 'nowhere', false)"],
    ['LISTEN', 'listen somewhere'],
    ['an advisory lock', 'select pg_advisory_lock(42)'],
    ['a temporary table', 'create temp table leaked (id int)'],
  ] as const)('is clean after %s', async ([, text]) => {
    const db = open({ maxSize: 1 })
    const before = (await db.query(settings)).rows
    const pid = await backend(db)
    await db.withConnection(async (connection) => {
      await connection.query(text)
      if (text.endsWith('select 1')) await connection.query('no sql').catch(() => {})
    })
    expect((await db.query(settings)).rows).toEqual(before)
    const { rows } = await db.query(`select
      (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())::int as locks,
      (select count(*) from pg_listening_channels())::int as channels,
      to_regclass('pg_temp.leaked') as leaked,
      current_setting('statement_timeout') as statement_timeout`)
    expect(rows).toEqual([{ locks: 0, channels: 0, leaked: null, statement_timeout: '30s' }])
    expect(await backend(db)).toBe(pid)
  })

  it.for([
    ['a setting', "perform set_config('work_mem', '5MB', false)"],
    ['a setting of its own kind', "perform set_config('app.tenant', 'mine', false)"],
    ['LISTEN', "execute 'listen films'"],
    ['a lock', 'perform pg_advisory_lock(4711)'],
    ['a temporary table that hides one', 'create temp table stock (film text)'],
    ['a cursor', "execute 'declare c cursor with hold for select 1'"],
    ['PREPARE', "execute 'prepare p as select 1'"],
    ['a sequence', "perform nextval('numbers')"],
    ['a role', "execute 'set role pg_monitor'"],
  ] as const)('is clean after %s made inside a function', async ([what, body]) => {
    const db = open({ maxSize: 1 })
    await database.admin.query(`create table if not exists stock (film text); create sequence if not exists numbers;
      create or replace function leak() returns void language plpgsql as $$ begin ${body}; end $$`)
    const facts = `select current_setting('work_mem') as work_mem, coalesce(current_setting('app.tenant', true), '') as tenant, current_user as role,
      (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())::int as locks,
      (select count(*) from pg_listening_channels())::int as channels, to_regclass('pg_temp.stock') as hidden,
      (select count(*) from pg_cursors where is_holdable)::int as cursors,
      (select count(*) from pg_prepared_statements where from_sql)::int as prepared`
    const before = (await db.query(facts)).rows
    const pid = await backend(db)
    await db.query('select leak()')
    expect((await db.query(facts)).rows).toEqual(before)
    await expect(db.query('select lastval()')).rejects.toMatchObject({ code: '55000' })
    // What no reset removes costs the connection, everything else does not.
    expect((await backend(db)) === pid).toBe(what !== 'PREPARE')
  })

  it('is clean after what no text shows, where every session is reset', async () => {
    const db = open({ maxSize: 1, sessionReset: 'always' })
    await database.admin.query(`create table if not exists triggered (a int);
      create or replace function on_write() returns trigger language plpgsql as $$ begin perform set_config('app.tenant', 'mine', false); return new; end $$;
      create or replace trigger on_write before insert on triggered for each row execute function on_write()`)
    await db.query('insert into triggered values (1)')
    expect((await db.query("select current_setting('app.tenant', true) as tenant")).rows).toEqual([{ tenant: '' }])
  })

  it('is told of once, with the place where it was borrowed', async () => {
    const warnings: { leftover?: string; borrowedAt?: string }[] = []
    const ignore = (): void => {}
    const logger = { debug: ignore, info: ignore, warn: (fields: object) => warnings.push(fields), error: ignore }
    const db = open({ maxSize: 1, logger })
    const borrow = () => db.withConnection((connection) => connection.query('set work_mem to 1000'))
    for (let round = 0; round < 3; round++) await borrow()
    await db.withConnection((connection) => connection.query('begin'))
    await db.query('select 1')
    expect(warnings.map(({ leftover }) => leftover)).toEqual(['session', 'transaction'])
    expect(warnings[0]?.borrowedAt).toContain('session.integration.test.ts')
  })

  it('was prepared by onConnect, and is prepared again after a reset', async () => {
    const db = open({ maxSize: 1, onConnect: async (connection) => void (await connection.query("set app.tenant to 'house'")) })
    const tenant = async () => (await db.query("select current_setting('app.tenant') as tenant")).rows
    expect(await tenant()).toEqual([{ tenant: 'house' }])
    await db.query("set app.tenant to 'other'")
    expect(await tenant()).toEqual([{ tenant: 'house' }])
    const failing = open({ maxSize: 1, acquireTimeoutMs: 300, onConnect: (connection) => connection.query('no sql').then(() => {}) })
    await expect(failing.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_CONNECT', cause: { code: '42601' } })
  })

  it('is replaced when the server reports an internal error', async () => {
    const db = open({ maxSize: 1 })
    const pid = await backend(db)
    await expect(db.query(`do $$ begin raise sqlstate 'XX000'; end $$`)).rejects.toMatchObject({ code: 'XX000' })
    expect(await backend(db)).not.toBe(pid)
  })

  it('is replaced after SQL-level PREPARE', async () => {
    const db = open({ maxSize: 1 })
    const pid = await backend(db)
    await db.query('prepare leaked as select 1')
    expect(await backend(db)).not.toBe(pid)
  })

  it('is of no more use to those who gave it back', async () => {
    const db = open()
    const kept = await db.withConnection(async (connection) => connection)
    await expect(kept.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_RELEASED' })
  })
})

describe('life of a connection', () => {
  it('ends after idleTimeoutMs and after maxLifetimeMs', async () => {
    const idle = open({ idleTimeoutMs: 40 })
    await idle.query('select 1')
    await until(() => idle.stats().open === 0)
    expect(idle.stats().idle).toBe(0)
    const old = open({ maxLifetimeMs: 40 })
    const pid = await backend(old)
    await until(async () => (await backend(old)) !== pid)
  })

  it('asks a password function at each connection', async () => {
    const password = vi.fn<() => Promise<{ reveal(): string }>>(async () => ({ reveal: () => new URL(database.url).password }))
    const db = open({ password, maxSize: 2 })
    await Promise.all([db.query('select pg_sleep(0.1)'), db.query('select pg_sleep(0.1)')])
    expect(password).toHaveBeenCalledTimes(2)
  })
})
