import { faultProxy } from '@platform/stack'
import { testPostgres } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, type DbPoolOptions } from './index.ts'

// Databases that differ by name stand in for servers that follow: what is tested is where a read goes.
let writer: Awaited<ReturnType<typeof testPostgres>>
let replicas: Awaited<ReturnType<typeof testPostgres>>[]

beforeAll(async () => {
  writer = await testPostgres()
  replicas = [await testPostgres(), await testPostgres()]
})
afterAll(async () => {
  await Promise.all([writer, ...replicas].map((place) => place.close()))
})

const nameOf = (url: string) => new URL(url).pathname.slice(1)
const asked = async (db: DbPool) => (await db.replica.query<{ name: string }>('select current_database() as name')).rows[0]?.name
const open = (urls: readonly string[], options: Partial<DbPoolOptions> = {}) =>
  createDbPool({ url: writer.url, replicas: urls, ...options })

describe('replica', () => {
  it('takes turns, and leaves writes and transactions to the writer', async () => {
    await using db = open(replicas.map(({ url }) => url))
    const names = [await asked(db), await asked(db), await asked(db), await asked(db)]
    expect(names).toEqual([...replicas, ...replicas].map(({ url }) => nameOf(url)))
    expect((await db.query('select current_database() as name')).rows).toEqual([{ name: nameOf(writer.url) }])
  })

  it('passes over what cannot be reached, without waiting for the time to acquire', async () => {
    const second = replicas[1]
    await using db = open(['postgres://nobody@127.0.0.1:1/x', second?.url ?? ''], { acquireTimeoutMs: 600_000 })
    expect(await Promise.all(Array.from({ length: 10 }, () => asked(db)))).toEqual(Array(10).fill(nameOf(second?.url ?? '')))
    await using alone = open(['postgres://nobody@127.0.0.1:1/x'], { acquireTimeoutMs: 600_000 })
    expect(await asked(alone)).toBe(nameOf(writer.url))
    await using none = open([])
    expect(await asked(none)).toBe(nameOf(writer.url))
  })

  it('passes over one that is silent, refuses, or loses against its recovery', async () => {
    const second = replicas[1]?.url ?? ''
    const proxy = await faultProxy(second)
    await using db = open([proxy.url], { acquireTimeoutMs: 2_000, statementTimeoutMs: 500, cancelTimeoutMs: 300 })
    proxy.silence()
    expect(await asked(db)).toBe(nameOf(writer.url))
    // It rests: nobody waits for it again.
    const since = performance.now()
    expect(await Promise.all(Array.from({ length: 20 }, () => asked(db)))).toEqual(Array(20).fill(nameOf(writer.url)))
    expect(performance.now() - since).toBeLessThan(2_000)
    proxy.restore()
    await vi.waitFor(async () => expect(await asked(db)).toBe(nameOf(second)), { timeout: 30_000, interval: 100 })
    // In the middle of a statement.
    const reading = db.replica.query<{ name: string }>('select current_database() as name, pg_sleep(0.2)')
    setTimeout(() => proxy.silence(), 100)
    expect((await reading).rows[0]?.name).toBe(nameOf(writer.url))
    await proxy.close()
    for (const state of ['40001', '57P01', '53300']) {
      await using conflicting = open([second])
      const text = `do $$ begin if current_database() = '${nameOf(second)}' then raise sqlstate '${state}'; end if; end $$`
      await conflicting.replica.query(text)
    }
    await using own = open([second])
    await expect(own.replica.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' })
  }, 60_000)

  it('is read-only on replicas and on the writer', async () => {
    const url = new URL(replicas[0]?.url ?? '')
    url.searchParams.set('options', '-c work_mem=5MB')
    await using db = open([url.href])
    await expect(db.replica.query('create table x ()')).rejects.toMatchObject({ code: '25006' })
    expect((await db.replica.query('show work_mem')).rows).toEqual([{ work_mem: '5MB' }])
    await using none = open([])
    await expect(none.replica.query('create table x ()')).rejects.toMatchObject({ code: '25006' })
  })

  it('ends with the signal and closes with the pool', async () => {
    const db = open([replicas[0]?.url ?? ''])
    const reason = new Error('no')
    await expect(db.replica.query('select 1', [], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const running = db.replica.query('select pg_sleep(60)', [], { signal: controller.signal })
    setTimeout(() => controller.abort(reason), 20)
    await expect(running).rejects.toBe(reason)
    await db.close()
    await expect(db.replica.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    expect(() => open(['http://x'])).toThrow(expect.objectContaining({ option: 'replicas' }))
  })
})
