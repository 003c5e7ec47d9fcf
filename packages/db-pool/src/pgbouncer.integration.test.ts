import { type Pgbouncer, startPgbouncer, testPostgres } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, type DbPoolOptions, migrate } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let bouncer: Pgbouncer
const pools: DbPool[] = []

beforeAll(async () => {
  database = await testPostgres()
  // Fewer sessions than clients, so that statements of one client run in sessions that others have used.
  bouncer = await startPgbouncer(database.url, { default_pool_size: '3', max_client_conn: '100' })
}, 120_000)
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 1_000 })))
})
afterAll(async () => {
  await bouncer.close()
  await database.close()
})

function open(options: Partial<DbPoolOptions> = {}): DbPool {
  const pool = createDbPool({ url: bouncer.url, pooler: 'transaction', ...options })
  pools.push(pool)
  return pool
}

describe('behind PgBouncer in transaction mode', () => {
  it('says at once what to set when that was left out', async () => {
    const db = open({ pooler: 'none', acquireTimeoutMs: 60_000 })
    await expect(db.query('select 1')).rejects.toMatchObject({
      code: 'ERR_DB_POOL_CONNECT',
      message: expect.stringContaining("pooler: 'transaction'"),
    })
  })

  it('queries, transactions and savepoints work, and sessions are nobody’s', async () => {
    const db = open({ maxSize: 8 })
    await db.query('create table if not exists stock (film int primary key, left_over int)')
    await db.query('insert into stock values (1, 100) on conflict do nothing')
    const seen: string[] = []
    await Promise.all(
      Array.from({ length: 20 }, () =>
        db.transaction(async (tx) => {
          await tx.query('update stock set left_over = left_over - 1 where film = $1', [1])
          await tx.transaction((savepoint) => savepoint.query('select 1 / 0')).catch(() => {})
          tx.afterCommit(() => void seen.push('committed'))
        }),
      ),
    )
    expect((await db.query('select left_over from stock')).rows).toEqual([{ left_over: 80 }])
    expect(seen).toHaveLength(20)
    await db.query('drop table stock')
  })

  it('keeps the time limit that the server has not been told', async () => {
    const db = open({ maxSize: 1, statementTimeoutMs: 300 })
    await expect(db.query('select pg_sleep(30)')).rejects.toMatchObject({ code: '57014' })
    expect((await db.query('select 1')).rowCount).toBe(1)
  })

  it('an abort hits only its own statement', async () => {
    const db = open({ maxSize: 8, acquireTimeoutMs: 60_000 })
    const seed = Number(process.env['PLATFORM_TEST_SEED'] ?? Date.now() % 2 ** 31)
    const foreign: unknown[] = []
    let aborted = 0
    await Promise.all(
      Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; round < 750; round++) {
          const reason = new Error('mine')
          const controller = new AbortController()
          const call = db.query('select pg_sleep($1)', [((round * 7 + worker + seed) % 10) / 10_000], { signal: controller.signal })
          if (round % 4 === 0) setTimeout(() => controller.abort(reason), round % 3)
          else if (round % 4 === 1) controller.abort(reason)
          await call.catch((error: unknown) => (error === reason ? aborted++ : foreign.push(error)))
        }
      }),
    )
    expect(foreign).toEqual([])
    expect(aborted).toBeGreaterThan(1_000)
  }, 120_000)

  it('listen and migrate say no, with the reason; a pooler that nobody named is told', async () => {
    const db = open()
    await expect(db.listen('films', () => {})).rejects.toMatchObject({ code: 'ERR_DB_POOL_POOLER' })
    await expect(migrate(db, { directory: import.meta.dirname })).rejects.toMatchObject({ code: 'ERR_DB_POOL_POOLER' })
    await using tolerant = await startPgbouncer(database.url, {
      ignore_startup_parameters: 'statement_timeout,idle_in_transaction_session_timeout',
    })
    const warn = vi.fn<(fields: object, message?: string) => void>()
    const logger = { debug: () => {}, info: () => {}, error: () => {}, warn }
    const unnamed = open({ url: tolerant.url, pooler: 'none', logger })
    await unnamed.query('select 1')
    expect(warn.mock.calls.map(([, message]) => message)).toEqual([expect.stringContaining('a pooler stands before the server')])
  })
})
