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

  it('changes nothing when the new credential does not pass', async () => {
    await db.query('select 1')
    const before = await backends()
    await expect(db.rotate('wrong')).rejects.toMatchObject({ code: 'ERR_DB_POOL_ROTATE_REJECTED', cause: { code: '28P01' } })
    await expect(db.rotate(5 as never)).rejects.toMatchObject({ code: 'ERR_DB_POOL_INVALID_OPTION' })
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
})
