import net from 'node:net'
import { describe, expect, it } from 'vitest'
import { createDbPool, type DbPoolOptions } from './index.ts'
import { backend, testPools, until } from './pools.fixture.ts'

const database = testPools()
const { open } = database

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
    await database.admin.query('create table films (id int primary key)')
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
    await database.admin.query('create table if not exists blocked_films (id int)')
    const db = open({ maxSize: 1, acquireTimeoutMs: 3_000 })
    await database.admin.query("set application_name = 'the cashier'; begin; lock table blocked_films")
    const holder = db.query('select 1 from blocked_films')
    await until(
      async () =>
        (await database.admin.query("select 1 from pg_locks where relation = 'blocked_films'::regclass and not granted")).rowCount,
    )
    const error = await db.query('select 1').catch((thrown: unknown) => thrown)
    const { rows } = await database.admin.query<{ pid: number }>('select pg_backend_pid() as pid')
    await database.admin.query('rollback')
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
