import { faultProxy, startPostgres } from '@platform/stack'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, type DbPoolOptions, toPgPool } from './index.ts'

let server: Awaited<ReturnType<typeof startPostgres>>
const closing: (() => Promise<void>)[] = []

beforeAll(async () => {
  server = await startPostgres({ fresh: true })
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})
afterAll(() => server.stop())

function open(options: Partial<DbPoolOptions> = {}): DbPool {
  const db = createDbPool({ url: server.url, ...options })
  closing.push(() => db.close({ timeoutMs: 1_000 }))
  return db
}
async function proxied() {
  const proxy = await faultProxy(server.url)
  closing.push(() => proxy.close())
  return proxy
}
const until = (condition: () => unknown) =>
  vi.waitFor(async () => expect(await condition()).toBeTruthy(), { timeout: 25_000, interval: 10 })
async function asAdmin(text: string, values: unknown[] = []): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  try {
    return await client.query(text, values)
  } finally {
    await client.end()
  }
}

/** Callers of every kind, without pause; each outcome is noted. */
function load(db: DbPool) {
  const orm = toPgPool(db)
  const stop = new AbortController()
  const outcomes = { answered: 0, failed: new Map<string, number>() }
  const kinds = [
    () => db.query('select pg_sleep(0.001)'),
    () => db.transaction((tx) => tx.query('select pg_sleep(0.001)')),
    () => db.withConnection((connection) => connection.query('select pg_sleep(0.001)')),
    () => orm.query('select pg_sleep(0.001)'),
    async () => {
      const client = await orm.connect()
      try {
        await client.query('begin')
        await client.query('commit')
      } finally {
        client.release()
      }
    },
  ]
  const workers = Array.from({ length: 20 }, async (_, index) => {
    while (!stop.signal.aborted) {
      try {
        await kinds[index % kinds.length]?.()
        outcomes.answered++
      } catch (error) {
        const code = (error as { code?: string }).code ?? (error as Error).message
        outcomes.failed.set(code, (outcomes.failed.get(code) ?? 0) + 1)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
  })
  return {
    outcomes,
    async stop() {
      stop.abort()
      await Promise.all(workers)
    },
  }
}

describe('a server that is killed under load', () => {
  it('settles every call and serves again by itself', async () => {
    const db = open({ maxSize: 5, acquireTimeoutMs: 2_000 })
    const traffic = load(db)
    await until(() => traffic.outcomes.answered > 100)
    await server.kill()
    await until(() => traffic.outcomes.failed.size > 0)
    await server.restart()
    const mark = traffic.outcomes.answered
    await until(() => traffic.outcomes.answered > mark + 100)
    await traffic.stop()
    expect(db.stats()).toMatchObject({ inUse: 0, waiting: 0 })
    expect(db.stats().open).toBeLessThanOrEqual(5)
    const loss =
      /^(ERR_DB_POOL_(ACQUIRE_TIMEOUT|CONNECTION_LOST|COMMIT_UNKNOWN)|57P0\d|ECONN\w+|EPIPE|Connection terminated unexpectedly|the server closed .*)$/
    for (const code of traffic.outcomes.failed.keys()) expect(code).toMatch(loss)
  })

  it('is away for those who wait no longer than it takes to come back', async () => {
    const db = open({ acquireTimeoutMs: 20_000 })
    await db.query('select 1')
    await server.kill()
    await until(() => db.stats().open === 0)
    const waiting = Promise.all(Array.from({ length: 20 }, () => db.query('select 1')))
    await server.restart()
    expect(await waiting).toHaveLength(20)
  })

  it('keeps listeners, who learn of the gap', async () => {
    const db = open()
    const seen: string[] = []
    let gaps = 0
    const stop = await db.listen(
      'news',
      (payload) => seen.push(payload),
      () => gaps++,
    )
    await server.kill()
    await server.restart()
    await until(() => gaps === 1)
    await db.query(`notify news, 'after'`)
    await until(() => seen.length === 1)
    expect(seen).toEqual(['after'])
    await stop()
  })
})

describe('backends that are terminated', () => {
  it('while idle disturb nobody', async () => {
    const db = open({ maxSize: 4, applicationName: 'idle' })
    await Promise.all(Array.from({ length: 4 }, () => db.query('select pg_sleep(0.05)')))
    expect(db.stats().idle).toBe(4)
    await asAdmin(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'idle'`)
    await until(() => db.stats().open === 0)
    expect(await Promise.all(Array.from({ length: 20 }, () => db.query('select 1')))).toHaveLength(20)
  })

  it('while the program thinks inside a transaction fail that one, not a later one', async () => {
    const db = open({ maxSize: 1, applicationName: 'thinking' })
    await asAdmin('create table if not exists effects (id int)')
    const failed = await db
      .transaction(async (tx) => {
        await tx.query('insert into effects values (1)')
        await asAdmin(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'thinking'`)
        await until(() => db.stats().open <= 1)
        await tx.query('insert into effects values (2)')
      })
      .catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(Error)
    expect((await db.query('select * from effects')).rows).toEqual([])
  })

  it('during COMMIT leave the caller with an error that says: unknown', async () => {
    const db = open({ maxSize: 2, applicationName: 'committing' })
    await asAdmin(`create or replace function nap() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end'`)
    await asAdmin('create table if not exists slow (id int)')
    await asAdmin('create constraint trigger nap after insert on slow deferrable initially deferred for each row execute function nap()')
    const committing = db.transaction((tx) => tx.query('insert into slow values (1)')).catch((error: unknown) => error)
    await until(
      async () => (await asAdmin(`select 1 from pg_stat_activity where application_name = 'committing' and query = 'commit'`)).rowCount,
    )
    await asAdmin(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'committing'`)
    expect(await committing).toMatchObject({ code: 'ERR_DB_POOL_COMMIT_UNKNOWN' })
  })
})

describe('a network that falls silent', () => {
  it('lets nobody wait for longer than the time to acquire, and serves again when it is back', async () => {
    const proxy = await proxied()
    const db = open({ url: proxy.url, maxSize: 2, acquireTimeoutMs: 2_000 })
    // Long enough for the second connection to be there before the first is free again.
    await Promise.all([db.query('select pg_sleep(0.5)'), db.query('select pg_sleep(0.5)')])
    expect(db.stats().open).toBe(2)
    proxy.silence()
    const held = [db.query('select 1'), db.query('select 1')]
    await expect(db.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_ACQUIRE_TIMEOUT', inUse: 2 })
    proxy.restore()
    expect(await Promise.all(held)).toHaveLength(2)
    await db.query('select 1')
  })

  it('does not keep a caller with a signal, and gives the connection up', async () => {
    const proxy = await proxied()
    const db = open({ url: proxy.url, cancelTimeoutMs: 200, maxSize: 1 })
    await db.query('select 1')
    proxy.silence()
    const reason = new Error('no more time')
    const controller = new AbortController()
    const stuck = db.query('select 1', [], { signal: controller.signal })
    controller.abort(reason)
    await expect(stuck).rejects.toBe(reason)
    await until(() => db.stats().open === 0)
    proxy.restore()
    expect((await db.query('select 1')).rowCount).toBe(1)
  })

  it('is noticed on connections that idled before anybody gets one', async () => {
    const proxy = await proxied()
    const db = open({ url: proxy.url, acquireTimeoutMs: 20_000, connectTimeoutMs: 1_000, maxSize: 3 })
    await Promise.all(Array.from({ length: 3 }, () => db.query('select pg_sleep(0.05)')))
    // Longer than a connection is trusted unasked.
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    proxy.silence()
    const waiting = db.query('select 1')
    // All three are given up although only one was asked.
    await until(() => db.stats().open === 0)
    proxy.restore()
    expect((await waiting).rowCount).toBe(1)
  })

  it('is noticed by listeners', async () => {
    const proxy = await proxied()
    const warnings: string[] = []
    const ignore = (): void => {}
    const logger = { debug: ignore, info: ignore, warn: (_fields: object, text = '') => warnings.push(text), error: ignore }
    const db = open({ url: proxy.url, keepaliveIntervalMs: 100, logger })
    let gaps = 0
    await db.listen('news', ignore, () => gaps++)
    proxy.silence()
    await until(() => warnings.includes('listening was interrupted'))
    expect(gaps).toBe(0)
    proxy.restore()
    await until(() => gaps >= 1)
  })

  it('does not keep close', async () => {
    const proxy = await proxied()
    const db = open({ url: proxy.url })
    await db.query('select 1')
    await db.listen('news', () => {})
    proxy.silence()
    const stuck = db.query('select 1').catch((error: unknown) => error)
    await db.close({ timeoutMs: 100 })
    expect(await stuck).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
  })
})
