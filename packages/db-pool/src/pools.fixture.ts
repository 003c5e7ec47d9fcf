import { testPostgres } from '@platform/stack/testing'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, vi } from 'vitest'
import { createDbPool, type DbPool, type DbPoolOptions } from './index.ts'

export interface TestPools {
  /** A pool on the database of the file, closed after the test. */
  open(options?: Partial<DbPoolOptions>): DbPool
  readonly url: string
  /** A connection of the administrator's, beside the pools. */
  readonly admin: pg.Client
}

/** A database for a test file, and the pools of each of its tests. */
export function testPools(): TestPools {
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
  return {
    open(options = {}) {
      const pool = createDbPool({ url: database.url, ...options })
      pools.push(pool)
      return pool
    },
    get url() {
      return database.url
    },
    get admin() {
      return admin
    },
  }
}

export const until = (condition: () => unknown): Promise<void> =>
  vi.waitFor(async () => expect(await condition()).toBeTruthy(), { timeout: 20_000, interval: 10 })

/** The server process that serves the pool's next query. */
export const backend = async (db: DbPool): Promise<number | undefined> =>
  (await db.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid
