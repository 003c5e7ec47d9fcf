import { AsyncLocalStorage } from 'node:async_hooks'
import { testPostgres } from '@platform/stack/testing'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, toPgPool } from '../index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool
let pool: pg.Pool

beforeAll(async () => {
  database = await testPostgres()
})
afterAll(() => database.close())
beforeEach(async () => {
  db = createDbPool({ url: database.url, maxSize: 2, acquireTimeoutMs: 5_000 })
  pool = toPgPool(db)
  await db.query('drop table if exists late, films; create table films (id int primary key)')
})
afterEach(() => db.close({ timeoutMs: 1_000 }))

const until = (condition: () => unknown) => vi.waitFor(async () => expect(await condition()).toBeTruthy(), { timeout: 20_000, interval: 5 })

describe('toPgPool', () => {
  it('is a pg.Pool with its results, as promise and as callback', async () => {
    expect(pool).toBeInstanceOf(pg.Pool)
    const result = await pool.query({ text: 'select $1::int as n, 2 as m', values: [1], rowMode: 'array' })
    expect(result).toMatchObject({ command: 'SELECT', rowCount: 1, rows: [[1, 2]] })
    expect(result.fields.map(({ name }) => name)).toEqual(['n', 'm'])
    const byCallback = await new Promise<pg.QueryResult>((resolve, reject) =>
      pool.query('select $1::int as n', [3], (error, answer) => (error ? reject(error) : resolve(answer))),
    )
    expect(byCallback.rows).toEqual([{ n: 3 }])
    await expect(pool.query('no sql')).rejects.toMatchObject({ code: '42601' })
    await until(() => pool.idleCount === 1)
    expect([pool.totalCount, pool.waitingCount]).toEqual([1, 0])
  })

  it('lends a client, by promise and by callback, in the context of the caller', async () => {
    const client = await pool.connect()
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    expect(db.stats().inUse).toBe(1)
    client.release()
    expect(() => client.release()).toThrow(expect.objectContaining({ code: 'ERR_DB_POOL_RELEASED' }))
    await expect(client.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_RELEASED' })
    const context = new AsyncLocalStorage<string>()
    const seen = await context.run('request', () => {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>()
      pool.connect((error, borrowed, done) => {
        if (error || !borrowed) return reject(error)
        borrowed.query('select 2 as two', (_failure, answer) => {
          done()
          resolve([answer.rows, context.getStore()])
        })
      })
      return promise
    })
    expect(seen).toEqual([[{ two: 2 }], 'request'])
    expect(db.stats().inUse).toBe(0)
  })

  it('never hands on an open transaction, and keeps the connection after a mere statement error', async () => {
    const first = await pool.connect()
    const { processID } = first as unknown as { processID: number }
    await first.query('begin')
    await first.query('insert into films values (1)')
    first.release()
    await until(() => db.stats().inUse === 0)
    expect((await pool.query('select * from films')).rows).toEqual([])
    await pool.query('insert into films values (1)')
    for (let round = 0; round < 10; round++) {
      const client = await pool.connect()
      const error = await client.query('insert into films values (1)').catch((thrown: Error) => thrown)
      client.release(error as Error)
    }
    expect((await pool.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid).toBe(processID)
    const broken = await pool.connect()
    broken.release(true)
    await until(() => db.stats().open === 0)
  })

  it('survives the death of a lent connection with and without listeners', async () => {
    const client = await pool.connect()
    const errors: unknown[] = []
    client.on('error', (error) => errors.push(error))
    const bare = await pool.connect()
    const pids = [client, bare].map((lent) => (lent as unknown as { processID: number }).processID)
    const admin = new pg.Client({ connectionString: database.url })
    await admin.connect()
    await admin.query('select pg_terminate_backend(pid) from unnest($1::int[]) as pid', [pids])
    await admin.end()
    await until(() => errors.length > 0)
    await expect(client.query('select 1')).rejects.toBeInstanceOf(Error)
    client.release()
    bare.release()
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  it('streams through a cursor-like query on a client', async () => {
    const client = await pool.connect()
    const query = client.query(new pg.Query('select generate_series(1, 3) as n'))
    const rows: unknown[] = []
    query.on('row', (row: unknown) => rows.push(row))
    await new Promise<void>((resolve) => query.on('end', () => resolve()))
    expect(rows).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
    client.release()
    await until(() => db.stats().inUse === 0)
    await expect(pool.query(new pg.Query('select 1') as never)).rejects.toThrow('connect()')
  })

  it('ends after its clients came back and leaves the engine open', async () => {
    const client = await pool.connect()
    let ended = false
    const ending = pool.end().then(() => {
      ended = true
    })
    await expect(pool.connect()).rejects.toThrow('after calling end')
    await client.query('select 1')
    expect(ended).toBe(false)
    client.release()
    await ending
    expect(pool.ended).toBe(true)
    expect((await db.query('select 1')).rowCount).toBe(1)
  })
})

interface Hooked extends pg.PoolClient {
  afterCommit(run: () => void | Promise<void>): void
}

describe('afterCommit of a lent client', () => {
  const borrow = async () => (await pool.connect()) as Hooked

  it('runs after COMMIT, in order, and not twice', async () => {
    const client = await borrow()
    const seen: unknown[] = []
    await client.query('begin')
    client.afterCommit(async () => void seen.push((await db.query('select count(*)::int as n from films')).rows))
    await client.query('insert into films values (1)')
    expect(seen).toEqual([])
    await client.query('commit')
    await until(() => seen.length === 1)
    await client.query('begin')
    await client.query('commit')
    client.release()
    expect(seen).toEqual([[{ n: 1 }]])
  })

  it('does not run after ROLLBACK, a COMMIT that rolled back, a COMMIT that failed, or a release', async () => {
    const seen: string[] = []
    await db.query('create table late (id int references films deferrable initially deferred)')
    const client = await borrow()
    const begin = async (name: string): Promise<void> => {
      await client.query('begin')
      client.afterCommit(() => void seen.push(name))
    }
    await begin('rollback')
    await client.query('rollback')
    await begin('aborted')
    await client.query('no sql').catch(() => {})
    expect((await client.query('commit')).command).toBe('ROLLBACK')
    await begin('failed at commit')
    await client.query('insert into late values (1)')
    await expect(client.query('commit')).rejects.toMatchObject({ code: '23503' })
    await client.query('begin; commit')
    await begin('released')
    client.release()
    await until(() => db.stats().inUse === 0)
    await pool.query('begin; commit')
    expect(seen).toEqual([])
    const outside = await borrow()
    expect(() => outside.afterCommit(() => {})).toThrow(expect.objectContaining({ code: 'ERR_DB_POOL_NO_AFTER_COMMIT' }))
    outside.release()
  })

  it('forgets what a savepoint registered that was rolled back', async () => {
    const seen: string[] = []
    const client = await borrow()
    await client.query('begin')
    client.afterCommit(() => void seen.push('outer'))
    await client.query('savepoint a')
    client.afterCommit(() => void seen.push('a'))
    await client.query('savepoint "B b"')
    client.afterCommit(() => void seen.push('b'))
    await client.query('rollback to savepoint "B b"')
    client.afterCommit(() => void seen.push('again'))
    await client.query('release savepoint a')
    await client.query('savepoint c')
    client.afterCommit(() => void seen.push('c'))
    await client.query('no sql').catch(() => {})
    await client.query('ROLLBACK TO c')
    await client.query('commit')
    client.release()
    expect(seen).toEqual(['outer', 'a', 'again'])
  })
})
