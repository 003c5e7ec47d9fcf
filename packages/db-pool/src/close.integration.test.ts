import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { createDbPool } from './index.ts'
import { testPools, until } from './pools.fixture.ts'

const database = testPools()
const { open } = database

describe('close', () => {
  it('rejects those who wait, lets finish what runs, and leaves no backend', async () => {
    const db = open({ maxSize: 1, applicationName: 'closing' })
    const running = db.query<{ done: number }>('select 1 as done, pg_sleep(0.2)')
    await until(() => db.stats().inUse === 1)
    const waiting = db.query('select 1')
    const refused = waiting.catch((error: unknown) => error)
    const closing = db.close()
    expect(await refused).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    expect((await running).rows[0]?.done).toBe(1)
    expect(db.close()).toBe(closing)
    await closing
    await expect(db.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    await expect(db.transaction(async () => {})).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    await expect(db.listen('x', () => {})).rejects.toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    await until(
      async () =>
        (await database.admin.query(`select 1 from pg_stat_activity where datname = current_database() and application_name = 'closing'`))
          .rowCount === 0,
    )
  })

  it('cuts what runs at the timeout', async () => {
    const db = open()
    const running = db.query('select pg_sleep(60)')
    const rejected = running.catch((error: unknown) => error)
    await until(() => db.stats().inUse === 1)
    await db.close({ timeoutMs: 50 })
    expect(await rejected).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
    expect(db.stats()).toEqual({ open: 0, inUse: 0, idle: 0, waiting: 0 })
  })

  it('while connections are being opened leaves no socket', async () => {
    const sockets = () =>
      process.getActiveResourcesInfo().filter((name) => /^(TCPSocketWrap|ConnectWrap|TCPConnectWrap)$/.test(name)).length
    const before = sockets()
    for (let round = 0; round < 20; round++) {
      const db = open()
      const calls = Promise.all(Array.from({ length: 3 }, () => db.query('select 1').catch((error: unknown) => error)))
      await new Promise((resolve) => setTimeout(resolve, round / 2))
      await db.close()
      await calls
      expect(sockets()).toBe(before)
    }
  })

  it('with everything in flight settles all of it and leaves no server process', async () => {
    const applicationName = 'everything'
    const db = open({ maxSize: 3, applicationName, replicas: [database.url], password: decodeURIComponent(new URL(database.url).password) })
    const signal = new AbortController()
    const calls: Promise<unknown>[] = [
      db.listen('everything', () => {}),
      ...Array.from({ length: 20 }, () => db.query('select pg_sleep(60)', [], { signal: signal.signal })),
      db.replica.query('select pg_sleep(60)'),
      db.transaction((tx) => tx.query('select pg_sleep(60)')),
      db.withConnection((connection) => Promise.all([connection.query('select pg_sleep(60)'), connection.query('select 1')])),
      db.drain(),
      db.ready(),
      db.rotate(decodeURIComponent(new URL(database.url).password)),
    ]
    const settled = Promise.allSettled(calls)
    await until(() => db.stats().inUse === 3)
    const late = open({ url: database.url, applicationName })
    const connecting = late.query('select 1').catch(() => {})
    signal.abort(new Error('gone'))
    await Promise.all([late.close({ timeoutMs: 0 }), db.close({ timeoutMs: 200 })])
    await connecting
    expect(await settled).toHaveLength(calls.length)
    await until(
      async () =>
        (
          await database.admin.query('select 1 from pg_stat_activity where datname = current_database() and application_name like $1', [
            `${applicationName}%`,
          ])
        ).rowCount === 0,
    )
  })

  it('is shortened by a second call with less time', async () => {
    const db = open()
    const running = db.query('select pg_sleep(60)').catch((error: unknown) => error)
    await until(() => db.stats().inUse === 1)
    const since = performance.now()
    const first = db.close({ timeoutMs: 50_000 })
    expect(db.close({ timeoutMs: 20 })).toBe(first)
    await first
    expect(performance.now() - since).toBeLessThan(20_000)
    expect(await running).toMatchObject({ code: 'ERR_DB_POOL_CLOSED' })
  })

  it('of a pool that was never used is immediate, and await using works', async () => {
    const unused = createDbPool({ url: 'postgres://nobody@127.0.0.1:1/x' })
    await unused.close()
    expect(unused.stats().open).toBe(0)
    await using db = createDbPool({ url: database.url })
    await db.ready()
  })
})

describe('drain', () => {
  it('leaves no listener on its signal, whether it ends or is aborted', async () => {
    const db = open({ maxSize: 2 })
    const { signal } = new AbortController()
    const work = Promise.all(Array.from({ length: 20 }, () => db.query('select pg_sleep(0.002)')))
    await db.drain({ signal })
    await work
    expect(getEventListeners(signal, 'abort')).toEqual([])
    const running = db.query('select pg_sleep(0.3)')
    const leaving = new AbortController()
    const drained = db.drain({ signal: leaving.signal })
    leaving.abort(new Error('enough'))
    await expect(drained).rejects.toThrow('enough')
    await running
  })
})
