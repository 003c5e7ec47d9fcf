import { getEventListeners } from 'node:events'
import net from 'node:net'
import { testPostgres } from '@platform/stack/testing'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, type DbPoolOptions } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let admin: pg.Client
const pools: DbPool[] = []

beforeAll(async () => {
  database = await testPostgres()
  admin = new pg.Client({ connectionString: database.url })
  await admin.connect()
})
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 1_000 })))
})
afterAll(async () => {
  await admin.end()
  await database.close()
})

function open(options: Partial<DbPoolOptions> = {}): DbPool {
  const pool = createDbPool({ url: database.url, ...options })
  pools.push(pool)
  return pool
}

const until = (condition: () => unknown) =>
  vi.waitFor(async () => expect(await condition()).toBeTruthy(), { timeout: 20_000, interval: 10 })
const backend = async (db: DbPool) => (await db.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid

describe('a query', () => {
  it('answers with rows and their number', async () => {
    const db = open()
    const result = await db.query<{ n: number }>('select $1::int as n', [7])
    expect(result.rows).toEqual([{ n: 7 }])
    expect(result.rowCount).toBe(1)
    expect((await db.query('begin; select 1; commit')).rowCount).toBe(0)
  })

  it('keeps its connection when the statement is at fault', async () => {
    const db = open({ maxSize: 1 })
    await admin.query('create table films (id int primary key)')
    await db.query('insert into films values (1)')
    const pid = await backend(db)
    const unfit = {
      toPostgres: () => {
        throw new Error('unfit')
      },
    }
    for (let round = 0; round < 10; round++) {
      await expect(db.query('insert into films values ($1)', [1])).rejects.toMatchObject({ code: '23505' })
      await expect(db.query('no sql')).rejects.toMatchObject({ code: '42601' })
      await expect(db.query('select $1::int', [unfit])).rejects.toThrow('unfit')
    }
    await expect(db.query('select 1\0')).rejects.toMatchObject({ code: 'ERR_DB_POOL_OPTION', option: 'text' })
    await expect(db.query('select $1::text', ['a\0'])).rejects.toMatchObject({ code: '22021' })
    await expect(db.query('select 1', 'no array' as never)).rejects.toThrow('must be an array')
    for (const wrong of [undefined, null, 5, {}]) await expect(db.query(wrong as never)).rejects.toBeInstanceOf(Error)
    expect(await backend(db)).toBe(pid)
  })

  it('that its borrower did not wait for is cancelled, and the connection stays', async () => {
    const db = open({ maxSize: 1 })
    const pid = await backend(db)
    const forgotten = await db.withConnection(async (connection) => [
      connection.query('select pg_sleep(60)').catch((error: unknown) => error),
    ])
    expect(await forgotten[0]).toMatchObject({ code: 'ERR_DB_POOL_RELEASED' })
    expect(await backend(db)).toBe(pid)
  })

  it('tells where it was called from', async () => {
    const db = open()
    const error = await db.query('no sql').catch((thrown: Error) => thrown)
    expect((error as Error).stack).toContain('pool.integration.test.ts')
  })

  it('is ended by the server after statementTimeoutMs', async () => {
    const db = open({ statementTimeoutMs: 50 })
    await expect(db.query('select pg_sleep(30)')).rejects.toMatchObject({ code: '57014' })
  })
})

describe('waiting', () => {
  it('never opens more than maxSize and serves in order', async () => {
    for (const maxSize of [1, 3]) {
      const db = open({ maxSize })
      const order: number[] = []
      const pids = new Set<unknown>()
      await Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const { rows } = await db.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.002)')
          order.push(index)
          pids.add(rows[0]?.pid)
        }),
      )
      expect(pids.size).toBeLessThanOrEqual(maxSize)
      const inOrder = Array.from({ length: 40 }, (_, index) => index)
      expect(maxSize === 1 ? order : order.toSorted((a, b) => a - b)).toEqual(inOrder)
      expect(db.stats()).toMatchObject({ inUse: 0, waiting: 0 })
    }
  })

  it('takes a connection that comes back while its own is still being opened', async () => {
    let asked = 0
    const hanging = Promise.withResolvers<string>()
    const db = open({
      maxSize: 2,
      password: () => {
        asked++
        return asked === 1 ? new URL(database.url).password : hanging.promise
      },
    })
    const held = Promise.withResolvers<void>()
    const first = db.withConnection(() => held.promise)
    await until(() => db.stats().inUse === 1)
    const second = db.query('select 1')
    await until(() => asked === 2)
    held.resolve()
    await first
    expect((await second).rowCount).toBe(1)
    hanging.resolve('')
  })

  it('ends after acquireTimeoutMs with an error that explains itself', async () => {
    const db = open({ maxSize: 1, acquireTimeoutMs: 2_000 })
    const held = Promise.withResolvers<void>()
    const holder = db.withConnection(async (connection) => {
      await connection.query('update pg_class set relname = relname where false')
      await held.promise
    })
    await until(() => db.stats().inUse === 1)
    const error = await db.query('select 1').catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'ERR_DB_POOL_ACQUIRE_TIMEOUT', inUse: 1, waiting: 0, retryable: true })
    expect((error as { holders: unknown[] }).holders).toEqual([
      {
        heldMs: expect.any(Number),
        pid: expect.any(Number),
        operation: 'UPDATE',
        stack: expect.stringContaining('pool.integration.test.ts'),
      },
    ])
    held.resolve()
    await holder
    await db.query('select 1')
  })

  it('names the server process that the holder waits for', async () => {
    await admin.query('create table if not exists blocked_films (id int)')
    const db = open({ maxSize: 1, acquireTimeoutMs: 3_000 })
    await admin.query("set application_name = 'the cashier'; begin; lock table blocked_films")
    const holder = db.query('select 1 from blocked_films')
    await until(
      async () => (await admin.query("select 1 from pg_locks where relation = 'blocked_films'::regclass and not granted")).rowCount,
    )
    const error = await db.query('select 1').catch((thrown: unknown) => thrown)
    const { rows } = await admin.query<{ pid: number }>('select pg_backend_pid() as pid')
    await admin.query('rollback')
    expect(error).toMatchObject({
      code: 'ERR_DB_POOL_ACQUIRE_TIMEOUT',
      message: expect.stringContaining(`which waits for process ${rows[0]?.pid} (the cashier, `),
      holders: [
        {
          operation: 'SELECT',
          blockedBy: [{ pid: rows[0]?.pid, application: 'the cashier', state: expect.any(String), transactionMs: expect.any(Number) }],
        },
      ],
    })
    await holder
  })

  it('costs one attempt when the network falls silent anywhere on the way to a connection', async () => {
    const { hostname, port } = new URL(database.url)
    const packets = Number.POSITIVE_INFINITY
    let letThrough = packets
    const proxy = net.createServer((near) => {
      const far = net.connect(Number(port), hostname)
      let left = letThrough
      letThrough = packets
      near.on('data', (packet) => left-- > 0 && far.write(packet)).on('error', () => {})
      near.on('close', () => far.destroy())
      far.on('error', () => {}).pipe(near)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const url = Object.assign(new URL(database.url), { port: String((proxy.address() as net.AddressInfo).port) }).href
    // The greeting, two steps of the password, the pool's question, that of onConnect.
    for (letThrough of [0, 1, 2, 3, 4]) {
      const first = letThrough
      const db = open({
        url,
        maxSize: 1,
        connectTimeoutMs: 1_000,
        acquireTimeoutMs: 20_000,
        onConnect: async (connection) => void (await connection.query('select 1')),
      })
      expect((await db.query('select 1')).rowCount).toBe(1)
      // While it is silent close does not wait for it either.
      letThrough = first
      const closing = open({ url, connectTimeoutMs: 60_000, onConnect: async (connection) => void (await connection.query('select 1')) })
      const refused = closing.query('select 1').catch((error: unknown) => error)
      await until(() => letThrough === packets)
      await closing.close({ timeoutMs: 0 })
      expect(await refused).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    }
    proxy.close()
  }, 60_000)

  it('ends with the reason of the signal, and the connection goes to the next', async () => {
    const db = open({ maxSize: 1 })
    const held = Promise.withResolvers<void>()
    const holder = db.withConnection(() => held.promise)
    await until(() => db.stats().inUse === 1)
    const reason = new Error('changed my mind')
    const controller = new AbortController()
    const aborted = db.query('select 1', [], { signal: controller.signal })
    const next = db.query('select 1')
    expect(db.stats().waiting).toBe(2)
    controller.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    expect(db.stats().waiting).toBe(1)
    held.resolve()
    await Promise.all([holder, next])
    await expect(db.query('select 1', [], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('ends at once when the server refuses', async () => {
    const url = Object.assign(new URL(database.url), { pathname: '/no_such_database' }).href
    const db = open({ url, acquireTimeoutMs: 60_000 })
    await expect(db.ready()).rejects.toMatchObject({ code: 'ERR_DB_POOL_CONNECT', cause: { code: '3D000' } })
  })
})

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
      const { rows } = await admin.query(`select 1 from pg_stat_activity where application_name = 'cancelled' and state = 'active'`)
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
    await admin.query(`create table if not exists stock (film text); create sequence if not exists numbers;
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
    await admin.query(`create table if not exists triggered (a int);
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
    expect(warnings[0]?.borrowedAt).toContain('pool.integration.test.ts')
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

describe('close', () => {
  it('rejects those who wait, lets finish what runs, and leaves no backend', async () => {
    const db = open({ maxSize: 1, applicationName: 'closing' })
    const running = db.query<{ done: number }>('select 1 as done, pg_sleep(0.2)')
    await until(() => db.stats().inUse === 1)
    const waiting = db.query('select 1')
    const refused = waiting.catch((error: unknown) => error)
    const closing = db.close()
    expect(await refused).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    expect((await running).rows[0]?.done).toBe(1)
    expect(db.close()).toBe(closing)
    await closing
    await expect(db.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    await expect(db.transaction(async () => {})).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    await expect(db.listen('x', () => {})).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    await until(async () => (await admin.query(`select 1 from pg_stat_activity where application_name = 'closing'`)).rowCount === 0)
  })

  it('cuts what runs at the timeout', async () => {
    const db = open()
    const running = db.query('select pg_sleep(60)')
    const rejected = running.catch((error: unknown) => error)
    await until(() => db.stats().inUse === 1)
    await db.close({ timeoutMs: 50 })
    expect(await rejected).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    expect(db.stats()).toEqual({ open: 0, inUse: 0, idle: 0, waiting: 0 })
  })

  it('while connections are being opened leaves no socket', async () => {
    const sockets = () =>
      process.getActiveResourcesInfo().filter((name) => /^(TCPSocketWrap|ConnectWrap|TCPConnectWrap)$/.test(name)).length
    const before = sockets()
    for (let round = 0; round < 20; round++) {
      const db = open()
      const calls = Promise.all(Array.from({ length: 3 }, () => db.query('select 1').catch((error: unknown) => error)))
      await new Promise((resolve) => setTimeout(resolve, round / 2))
      await db.close()
      await calls
      expect(sockets()).toBe(before)
    }
  })

  it('with everything in flight settles all of it and leaves no server process', async () => {
    const applicationName = 'everything'
    const db = open({ maxSize: 3, applicationName, replicas: [database.url], password: decodeURIComponent(new URL(database.url).password) })
    const signal = new AbortController()
    const calls: Promise<unknown>[] = [
      db.listen('everything', () => {}),
      ...Array.from({ length: 20 }, () => db.query('select pg_sleep(60)', [], { signal: signal.signal })),
      db.replica.query('select pg_sleep(60)'),
      db.transaction((tx) => tx.query('select pg_sleep(60)')),
      db.withConnection((connection) => Promise.all([connection.query('select pg_sleep(60)'), connection.query('select 1')])),
      db.drain(),
      db.ready(),
      db.rotate(decodeURIComponent(new URL(database.url).password)),
    ]
    const settled = Promise.allSettled(calls)
    await until(() => db.stats().inUse === 3)
    const late = open({ url: database.url, applicationName })
    const connecting = late.query('select 1').catch(() => {})
    signal.abort(new Error('gone'))
    await Promise.all([late.close({ timeoutMs: 0 }), db.close({ timeoutMs: 200 })])
    await connecting
    expect(await settled).toHaveLength(calls.length)
    await until(
      async () =>
        (await admin.query('select 1 from pg_stat_activity where application_name like $1', [`${applicationName}%`])).rowCount === 0,
    )
  })

  it('is shortened by a second call with less time', async () => {
    const db = open()
    const running = db.query('select pg_sleep(60)').catch((error: unknown) => error)
    await until(() => db.stats().inUse === 1)
    const since = performance.now()
    const first = db.close({ timeoutMs: 50_000 })
    expect(db.close({ timeoutMs: 20 })).toBe(first)
    await first
    expect(performance.now() - since).toBeLessThan(20_000)
    expect(await running).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
  })

  it('of a pool that was never used is immediate, and await using works', async () => {
    const unused = createDbPool({ url: 'postgres://nobody@127.0.0.1:1/x' })
    await unused.close()
    expect(unused.stats().open).toBe(0)
    await using db = createDbPool({ url: database.url })
    await db.ready()
  })
})

describe('drain', () => {
  it('leaves no listener on its signal, whether it ends or is aborted', async () => {
    const db = open({ maxSize: 2 })
    const { signal } = new AbortController()
    const work = Promise.all(Array.from({ length: 20 }, () => db.query('select pg_sleep(0.002)')))
    await db.drain({ signal })
    await work
    expect(getEventListeners(signal, 'abort')).toEqual([])
    const running = db.query('select pg_sleep(0.3)')
    const leaving = new AbortController()
    const drained = db.drain({ signal: leaving.signal })
    leaving.abort(new Error('enough'))
    await expect(drained).rejects.toThrow('enough')
    await running
  })
})

describe('many callers', () => {
  it('100,000 wait, half of them leave, the rest are served', async () => {
    const db = open({ maxSize: 2, acquireTimeoutMs: 100_000 })
    const leaving: AbortController[] = []
    const calls = Array.from({ length: 100_000 }, (_, index) => {
      const controller = new AbortController()
      if (index % 2 === 0) leaving.push(controller)
      return db.withConnection(async () => index, { signal: controller.signal }).catch(() => -1)
    })
    expect(db.stats().waiting).toBe(100_000)
    for (const controller of leaving) controller.abort()
    const served = await Promise.all(calls)
    expect(served.filter((index) => index >= 0)).toHaveLength(50_000)
  }, 60_000)
})

describe('check', () => {
  it('warns when callers wait for a full pool, and rejects when the server is away', async () => {
    const db = open({ maxSize: 1 })
    expect(await db.check()).toBeUndefined()
    const running = [db.query('select pg_sleep(0.2)'), db.query('select 1')]
    expect(await db.check()).toMatchObject({ status: 'warn' })
    await Promise.all(running)
    await db.drain()
    const away = open({ url: 'postgres://nobody@127.0.0.1:1/x', acquireTimeoutMs: 100 })
    await expect(away.check()).rejects.toMatchObject({ code: 'ERR_DB_POOL_ACQUIRE_TIMEOUT', cause: { code: 'ECONNREFUSED' } })
  })
})

describe('options', () => {
  it.for([
    ['url', { url: 'mysql://x' }],
    ['url', { url: 'postgres://a:1,b:wrong/x' }],
    ['replicas', { replicas: ['postgres://a,b/x'] }],
    ['maxSize', { maxSize: 0 }],
    ['maxSize', { maxSize: 1.5 }],
    ['acquireTimeoutMs', { acquireTimeoutMs: '5s' }],
    ['password', { password: 5 }],
    ['applicationName', { applicationName: '' }],
    ['logger', { logger: {} }],
    ['poolSize', { poolSize: 5 }],
    ['minIdle', { minIdle: 11 }],
    ['sessionReset', { sessionReset: 'never' }],
    ['onConnect', { onConnect: 'set x to y' }],
  ] as const)('a wrong %s throws and is named', ([option, wrong]) => {
    expect(() => createDbPool({ url: database.url, ...wrong } as unknown as DbPoolOptions)).toThrow(
      expect.objectContaining({ code: 'ERR_DB_POOL_OPTION', option }),
    )
  })

  it('never show a password in an error', () => {
    expect(() => createDbPool({ url: 'http://user:hunter2@host' })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
    )
  })
})
