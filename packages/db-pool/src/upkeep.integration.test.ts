import { testPostgres } from '@platform/stack/testing'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, type DbPoolOptions, toPgPool } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let admin: pg.Client
const pools: DbPool[] = []
let warnings: { fields: Record<string, unknown>; message: string }[] = []

beforeAll(async () => {
  database = await testPostgres()
  admin = new pg.Client({ connectionString: database.url })
  await admin.connect()
})
afterEach(async () => {
  warnings = []
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 1_000 })))
})
afterAll(async () => {
  await admin.end()
  await database.close()
})

function open(options: Partial<DbPoolOptions>): DbPool {
  const ignore = (): void => {}
  const warn = (fields: object, message = ''): void => void warnings.push({ fields: fields as Record<string, unknown>, message })
  const pool = createDbPool({ url: database.url, logger: { debug: ignore, info: ignore, warn, error: ignore }, ...options })
  pools.push(pool)
  return pool
}

const until = (condition: () => unknown) =>
  vi.waitFor(async () => expect(await condition()).toBeTruthy(), { timeout: 20_000, interval: 10 })
const heldForLong = () => warnings.filter(({ message }) => message.includes('held for long'))

it('whoever keeps a connection is told of once, with the place, whichever way it was borrowed', async () => {
  const db = open({ leakDetectionThresholdMs: 100 })
  const held = Promise.withResolvers<void>()
  const holders = [db.withConnection(() => held.promise), db.transaction(() => held.promise)]
  const client = await toPgPool(db).connect()
  await until(() => heldForLong().length === 3)
  // Long enough to be told again, if it were.
  await db.query('select pg_sleep(0.5)')
  expect(heldForLong()).toHaveLength(3)
  for (const { fields } of heldForLong()) {
    expect(fields).toMatchObject({ heldMs: expect.any(Number), borrowedAt: expect.stringContaining('upkeep.integration.test.ts') })
  }
  held.resolve()
  client.release()
  await Promise.all(holders)
})

it('whoever keeps one in a pool much in use is told of, and from then on with the place', async () => {
  const db = open({ leakDetectionThresholdMs: 50 })
  for (let round = 0; round < 1_001; round++) await db.withConnection(async () => {})
  const held = Promise.withResolvers<void>()
  const first = db.withConnection(() => held.promise)
  await until(() => heldForLong().length === 1)
  const second = db.withConnection(() => held.promise)
  await until(() => heldForLong().length === 2)
  expect(heldForLong()[1]?.fields).toMatchObject({ borrowedAt: expect.stringContaining('upkeep.integration.test.ts') })
  held.resolve()
  await Promise.all([first, second])
})

it('a statement that takes long is no leak, and 0 tells of nobody', async () => {
  const db = open({ leakDetectionThresholdMs: 50 })
  await db.query('select pg_sleep(0.4)')
  const silent = open({ leakDetectionThresholdMs: 0, idleTimeoutMs: 100 })
  await silent.withConnection((connection) => connection.query('select pg_sleep(0.4)'))
  expect(heldForLong()).toEqual([])
})

it('minIdle connections stay, beyond idleTimeoutMs and when they are lost', async () => {
  const db = open({ minIdle: 3, maxSize: 5, idleTimeoutMs: 200, applicationName: 'kept' })
  const backends = async () =>
    (
      await admin.query<{ pid: number }>(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'kept'",
      )
    ).rows.map(({ pid }) => pid)
  expect(await backends()).toEqual([])
  await Promise.all(Array.from({ length: 5 }, () => db.query('select pg_sleep(0.1)')))
  await until(async () => (await backends()).length === 3)
  const before = await backends()
  await admin.query('select pg_terminate_backend(pid) from unnest($1::int[]) as lost (pid)', [before])
  await until(async () => {
    const now = await backends()
    return now.length === 3 && now.every((pid) => !before.includes(pid))
  })
  await until(() => db.stats().idle === 3 && db.stats().open === 3)
})

it('pools that are too many for the server are told of, once', async () => {
  const fits = open({ maxSize: 10, instances: 2 })
  await fits.query('select 1')
  expect(warnings).toEqual([])
  const many = open({ maxSize: 10, instances: 1_000 })
  await Promise.all([many.query('select pg_sleep(0.05)'), many.query('select pg_sleep(0.05)')])
  expect(warnings).toMatchObject([{ fields: { maxSize: 10, instances: 1_000, connections: expect.any(Number) } }])
})
