import { randomBytes } from 'node:crypto'
import { testPostgres } from '@platform/stack/testing'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let admin: pg.Client
let role: string
let db: DbPool

beforeEach(async () => {
  database = await testPostgres()
  admin = new pg.Client({ connectionString: database.url })
  await admin.connect()
  role = `rotated_${randomBytes(6).toString('hex')}`
  await admin.query(`create role ${role} login password 'old'`)
  const url = Object.assign(new URL(database.url), { username: role, password: '' })
  db = createDbPool({ url: url.href, password: 'old', maxSize: 3 })
})
afterEach(async () => {
  await db.close({ timeoutMs: 1_000 })
  await admin.query(`drop role ${role}`)
  await admin.end()
  await database.close()
})

const backends = async () =>
  (await admin.query<{ pid: number }>('select pid from pg_stat_activity where usename = $1 order by 1', [role])).rows.map(({ pid }) => pid)

describe('rotate', () => {
  it('replaces every connection without failing a request', async () => {
    const stop = new AbortController()
    let answered = 0
    const traffic = Array.from({ length: 6 }, async () => {
      while (!stop.signal.aborted) {
        await db.transaction(async (tx) => {
          await tx.query('select pg_sleep(0.002)')
        })
        answered++
      }
    })
    await vi.waitFor(() => expect(answered).toBeGreaterThan(20), { timeout: 20_000 })
    const before = await backends()
    await admin.query(`alter role ${role} password 'new'`)
    await db.rotate({ reveal: () => 'new' })
    const mark = answered
    await vi.waitFor(() => expect(answered).toBeGreaterThan(mark + 20), { timeout: 20_000 })
    stop.abort()
    // A single failed request would reject here.
    await Promise.all(traffic)
    await vi.waitFor(async () => expect((await backends()).filter((pid) => before.includes(pid))).toEqual([]), { timeout: 20_000 })
    expect((await backends()).length).toBeLessThanOrEqual(3)
  })

  it.for([
    ['light', 2],
    ['full', 12],
  ] as const)('fails no call of a hundred rotations under %s load', { timeout: 60_000 }, async ([, workers]) => {
    await using busy = createDbPool({
      url: Object.assign(new URL(database.url), { username: role, password: 'old' }).href,
      maxSize: 8,
    })
    const stop = new AbortController()
    let answered = 0
    const failures: unknown[] = []
    const traffic = Array.from({ length: workers }, async (_, index) => {
      while (!stop.signal.aborted) {
        await (index % 2 === 0 ? busy.query('select pg_sleep(0.001)') : busy.transaction((tx) => tx.query('select 1'))).catch(
          (error: unknown) => failures.push(error),
        )
        answered++
        await new Promise((resolve) => setTimeout(resolve, workers === 2 ? 2 : 0))
      }
    })
    await vi.waitFor(() => expect(answered).toBeGreaterThan(10), { timeout: 20_000 })
    for (let round = 0; round < 100; round++) {
      // The server knows first; the pool hears of it a moment later.
      await admin.query(`alter role ${role} password 'round ${round}'`)
      const between = busy.query('select 1').catch((error: unknown) => failures.push(error))
      if (round % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 20))
      await busy.rotate(`round ${round}`)
      await between
    }
    stop.abort()
    await Promise.all(traffic)
    expect(failures).toEqual([])
  })

  it('changes nothing when the new credential does not pass', async () => {
    await db.query('select 1')
    const before = await backends()
    await expect(db.rotate('wrong')).rejects.toMatchObject({ code: 'ERR_DB_POOL_ROTATE_REJECTED', cause: { code: '28P01' } })
    await expect(db.rotate(5 as never)).rejects.toMatchObject({ code: 'ERR_DB_POOL_OPTION' })
    await db.query('select 1')
    expect(await backends()).toEqual(before)
  })
})

describe('a password function', () => {
  it('that gave a password just replaced is asked once more', async () => {
    const given = ['stale', 'old']
    await using asking = createDbPool({
      url: Object.assign(new URL(database.url), { username: role, password: '' }).href,
      password: () => given.shift() ?? 'none left',
    })
    expect((await asking.query('select 1')).rowCount).toBe(1)
  })

  it('is asked once more for all who found its password refused', async () => {
    const asked = vi.fn<() => string>()
    let current = 'stale'
    asked.mockImplementation(() => current)
    await using asking = createDbPool({
      url: Object.assign(new URL(database.url), { username: role, password: '' }).href,
      password: asked,
      maxSize: 5,
    })
    const calls = Promise.all(Array.from({ length: 5 }, () => asking.query('select 1')))
    expect(asked).toHaveBeenCalledTimes(5)
    current = 'old'
    expect(await calls).toHaveLength(5)
    await asking.drain()
    expect(asked.mock.calls.length).toBeLessThan(5 + 5)
  })

  it('that is refused rejects nobody whom a live connection can serve', async () => {
    await using busy = createDbPool({ url: Object.assign(new URL(database.url), { username: role, password: 'old' }).href, maxSize: 10 })
    await Promise.all([busy.query('select pg_sleep(0.05)'), busy.query('select pg_sleep(0.05)')])
    await admin.query(`alter role ${role} password 'other'`)
    const calls = await Promise.allSettled(Array.from({ length: 20 }, () => busy.query('select pg_sleep(0.01)')))
    expect(calls.filter(({ status }) => status === 'rejected')).toEqual([])
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where usename = $1', [role])
    await vi.waitFor(() => expect(busy.stats().open).toBe(0), { timeout: 20_000 })
    await expect(busy.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_CONNECT', cause: { code: '28P01' } })
  })
})
