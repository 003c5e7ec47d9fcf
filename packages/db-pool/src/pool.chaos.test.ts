import { readFileSync } from 'node:fs'
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

  it('during COMMIT leave the caller with what the server says of it', async () => {
    const db = open({ maxSize: 2, applicationName: 'committing' })
    await asAdmin(`create or replace function nap() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end'`)
    await asAdmin('create table if not exists slow (id int)')
    await asAdmin('create constraint trigger nap after insert on slow deferrable initially deferred for each row execute function nap()')
    const committing = db.transaction((tx) => tx.query('insert into slow values (1)')).catch((error: unknown) => error)
    await until(
      async () => (await asAdmin(`select 1 from pg_stat_activity where application_name = 'committing' and query = 'commit'`)).rowCount,
    )
    await asAdmin(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'committing'`)
    expect(await committing).toMatchObject({
      code: 'ERR_DB_POOL_CONNECTION_LOST',
      message: expect.stringContaining('nothing was committed'),
    })
    await asAdmin('drop table slow')
  })
})

describe('a COMMIT whose answer is lost', () => {
  const committed = async (id: number) => (await asAdmin('select 1 from outcomes where id = $1', [id])).rowCount

  it('is looked up by an ordinary role: it took effect, and its work is done once', async () => {
    await asAdmin(`drop table if exists outcomes; create table outcomes (id int); drop role if exists plain; create role plain login password 'p'; grant all on outcomes to plain;
      create or replace function nap() returns trigger language plpgsql as 'begin perform pg_sleep(0.5); return null; end';
      create constraint trigger nap after insert on outcomes deferrable initially deferred for each row execute function nap()`)
    const proxy = await proxied()
    const url = Object.assign(new URL(proxy.url), { username: 'plain', password: 'p' }).href
    const db = open({ url, maxSize: 2, statementTimeoutMs: 2_000, cancelTimeoutMs: 500 })
    await db.query('select 1')
    let done = 0
    const committing = db.transaction(async (tx) => {
      tx.afterCommit(() => {
        done++
      })
      await tx.query('insert into outcomes values (1)')
    })
    await until(async () => (await asAdmin(`select 1 from pg_stat_activity where query = 'commit' and state = 'active'`)).rowCount)
    proxy.cut()
    proxy.restore()
    await committing
    expect([done, await committed(1)]).toEqual([1, 1])
  })

  it('for as long as the server is away is unknown', async () => {
    const db = open({ maxSize: 2, acquireTimeoutMs: 500 })
    const committing = db.transaction((tx) => tx.query('insert into outcomes values (2)')).catch((error: unknown) => error)
    await until(async () => (await asAdmin(`select 1 from pg_stat_activity where query = 'commit' and state = 'active'`)).rowCount)
    await server.kill()
    expect(await committing).toMatchObject({ code: 'ERR_DB_POOL_COMMIT_UNKNOWN' })
    await server.restart()
  })

  it('is unknown after a crash, which may give the number of the transaction to another', async () => {
    const db = open({ maxSize: 2, acquireTimeoutMs: 20_000 })
    const committing = db.transaction((tx) => tx.query('insert into outcomes values (3)')).catch((error: unknown) => error)
    await until(async () => (await asAdmin(`select 1 from pg_stat_activity where query = 'commit' and state = 'active'`)).rowCount)
    await server.kill()
    await server.restart()
    expect(await committing).toMatchObject({ code: 'ERR_DB_POOL_COMMIT_UNKNOWN' })
    expect(await committed(3)).toBe(0)
  })
})

describe('a statement that nobody waits for any more', () => {
  const running = async (name: string) =>
    (await asAdmin(`select 1 from pg_stat_activity where application_name = $1 and state = 'active'`, [name])).rowCount ?? 0

  it('never makes more server processes than maxSize, whether its cancel helps or not', async () => {
    await asAdmin(`create or replace function stubborn() returns void language plpgsql as $$ begin
      for i in 1..400 loop begin perform pg_sleep(0.1); exception when query_canceled then null; end; end loop; end $$`)
    const db = open({ maxSize: 3, cancelTimeoutMs: 200, applicationName: 'stubborn', acquireTimeoutMs: 20_000 })
    let most = 0
    for (let round = 0; round < 6; round++) {
      await db.withConnection(async (connection) => {
        void connection.query(round % 2 === 0 ? 'select stubborn()' : 'select pg_sleep(60)').catch(() => {})
      })
      most = Math.max(most, await running('stubborn'))
    }
    await db.drain()
    await until(async () => (await running('stubborn')) === 0)
    expect(most).toBeLessThanOrEqual(3)
  })

  it('costs its connection when its cancel may still arrive', async () => {
    const db = open({ maxSize: 1, cancelTimeoutMs: 500, acquireTimeoutMs: 20_000 })
    const { rows } = await db.query<{ pid: number }>('select pg_backend_pid() as pid')
    const postmaster = Number(readFileSync(`/proc/${rows[0]?.pid}/stat`, 'utf8').split(' ')[3])
    const leaving = new AbortController()
    try {
      const aborted = db.query('select pg_sleep(0.3)', [], { signal: leaving.signal }).catch(() => {})
      await until(() => running(''))
      // Takes no new connection.
      process.kill(postmaster, 'SIGSTOP')
      leaving.abort()
      await aborted
      const next = db.query('select pg_sleep(1)')
      await until(() => db.stats().open === 0)
      process.kill(postmaster, 'SIGCONT')
      expect((await next).rowCount).toBe(1)
    } finally {
      process.kill(postmaster, 'SIGCONT')
    }
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

  it.for(['a statement', 'a COMMIT'] as const)('in the middle of %s costs the connection, not the caller nor the slot', async (kind) => {
    await asAdmin('drop table if exists outcomes; create table outcomes (id int)')
    const proxy = await proxied()
    const db = open({
      url: proxy.url,
      maxSize: 1,
      statementTimeoutMs: 500,
      cancelTimeoutMs: 300,
      connectTimeoutMs: 1_000,
      acquireTimeoutMs: 10_000,
    })
    await db.query('select 1')
    const call =
      kind === 'a statement'
        ? db.query('select pg_sleep(0.1)')
        : db.transaction(async (tx) => {
            await tx.query('insert into outcomes values (1)')
            proxy.silence()
          })
    const failed = call.catch((error: unknown) => error)
    if (kind === 'a statement') proxy.silence()
    const since = performance.now()
    const error = await failed
    // 500 + 300 ms, and a question of 1 s that goes without an answer; a COMMIT is looked up for as long as a caller waits for a connection.
    expect(performance.now() - since).toBeLessThan(30_000)
    expect(error).toMatchObject({ code: kind === 'a statement' ? 'ERR_DB_POOL_CONNECTION_LOST' : 'ERR_DB_POOL_COMMIT_UNKNOWN' })
    proxy.restore()
    expect((await db.query('select 1')).rowCount).toBe(1)
  })

  it('is not suspected of a statement that raised its own limit', async () => {
    const db = open({ maxSize: 1, statementTimeoutMs: 100, cancelTimeoutMs: 100 })
    const { rowCount } = await db.transaction(async (tx) => {
      await tx.query('set local statement_timeout = 0')
      return tx.query('select pg_sleep(2)')
    })
    expect(rowCount).toBe(1)
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
