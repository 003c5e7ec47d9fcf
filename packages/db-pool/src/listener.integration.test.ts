import { testPostgres } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool

beforeAll(async () => {
  database = await testPostgres()
  db = createDbPool({ url: database.url, keepaliveIntervalMs: 50 })
})
afterAll(async () => {
  await db.close()
  await database.close()
})

const until = (condition: () => unknown) =>
  vi.waitFor(async () => expect(await condition()).toBeTruthy(), { timeout: 20_000, interval: 10 })
const listeners = async () =>
  (
    await db.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = current_database() and query ~* '^(listen|unlisten|select 1$)'`,
    )
  ).rows

describe('listen', () => {
  it('delivers what is sent after it resolved, in order, to every subscriber of the channel', async () => {
    const first: string[] = []
    const second: string[] = []
    const stops = [
      await db.listen('Films "new"', (payload) => first.push(payload)),
      await db.listen('Films "new"', (payload) => second.push(payload)),
      await db.listen('other', () => first.push('wrong channel')),
    ]
    for (let n = 0; n < 20; n++) await db.query('select pg_notify($1, $2)', ['Films "new"', String(n)])
    await until(() => first.length >= 20 && second.length >= 20)
    expect(first).toEqual(Array.from({ length: 20 }, (_, n) => String(n)))
    expect(second).toEqual(first)
    await Promise.all(stops.map((stop) => stop()))
  })

  it('delivers nothing after the unsubscribe and keeps no connection for nobody', async () => {
    const seen: string[] = []
    const stop = await db.listen('quiet', (payload) => seen.push(payload))
    await stop()
    await stop()
    await db.query(`notify quiet, 'lost'`)
    const again = await db.listen('quiet', (payload) => seen.push(payload))
    await db.query(`notify quiet, 'heard'`)
    await until(() => seen.length > 0)
    expect(seen).toEqual(['heard'])
    await again()
    await until(async () => (await listeners()).length === 0)
  })

  it('goes on after its connection was lost, and reports the gap once all channels are listened to again', async () => {
    const seen: string[] = []
    let gaps = 0
    const stop = await db.listen(
      'lively',
      (payload) => seen.push(payload),
      () => gaps++,
    )
    const other = await db.listen('second', (payload) => seen.push(payload))
    expect(gaps).toBe(0)
    await db.query('select pg_terminate_backend(pid) from pg_stat_activity where pid = any($1)', [
      (await listeners()).map(({ pid }) => pid),
    ])
    await until(() => gaps === 1)
    await db.query(`select pg_notify('lively', 'a'), pg_notify('second', 'b')`)
    await until(() => seen.length === 2)
    expect(seen).toEqual(['a', 'b'])
    await Promise.all([stop(), other()])
  })

  it('is not harmed by a subscriber that throws', async () => {
    const seen: string[] = []
    const stops = [
      await db.listen('rough', () => {
        throw new Error('mine')
      }),
      await db.listen('rough', () => Promise.reject(new Error('mine, later')) as unknown as void),
      await db.listen('rough', (payload) => seen.push(payload)),
    ]
    await db.query(`notify rough, 'x'`)
    await until(() => seen.length === 1)
    expect(seen).toEqual(['x'])
    await Promise.all(stops.map((stop) => stop()))
  })

  it('refuses names that the server would cut, and ends with the signal', async () => {
    await expect(db.listen('é'.repeat(32), () => {})).rejects.toMatchObject({ code: 'ERR_DB_POOL_OPTION', option: 'channel' })
    const reason = new Error('no longer')
    await expect(db.listen('x', () => {}, undefined, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('rejects when the server stays away, and closes all the same', async () => {
    await using away = createDbPool({ url: 'postgres://nobody@127.0.0.1:1/x', acquireTimeoutMs: 100 })
    await expect(away.listen('x', () => {})).rejects.toMatchObject({
      code: 'ERR_DB_POOL_ACQUIRE_TIMEOUT',
      cause: { code: 'ECONNREFUSED' },
    })
  })
})
