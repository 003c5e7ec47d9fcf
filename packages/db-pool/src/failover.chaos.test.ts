import net from 'node:net'
import { type Server, startPostgres } from '@platform/stack'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { causalityHook, causalityToken, createDbPool, type DbPool, type DbPoolOptions, withCausality } from './index.ts'

let primary: Server
let standby: Server
const pools: DbPool[] = []

async function start(): Promise<void> {
  primary = await startPostgres({ fresh: true, sql: 'create table films (id int primary key)' })
  standby = await startPostgres({ fresh: true, follows: primary, settings: { max_standby_streaming_delay: '50ms' } })
}
async function stop(): Promise<void> {
  primary.thaw()
  await closePools()
  await Promise.all([primary.stop(), standby.stop()])
}
async function closePools(): Promise<void> {
  await Promise.all(pools.splice(0).map((db) => db.close({ timeoutMs: 500 })))
}

function open(options: Partial<DbPoolOptions> = {}): DbPool {
  const db = createDbPool({ url: both(), maxSize: 5, acquireTimeoutMs: 20_000, connectTimeoutMs: 2_000, ...options })
  pools.push(db)
  return db
}

/** One URL for the two of them. */
function both(): string {
  const { host } = new URL(standby.url)
  return primary.url.replace(/@([^/]+)/, (_all, first: string) => `@${host},${first}`)
}

async function on(server: Server, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: server.url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const idsOn = async (server: Server) => new Set((await on(server, 'select id from films')).map(({ id }) => id as number))

/** Inserts for as long as it is let, and keeps what each insert was told. */
function load(db: DbPool) {
  const told = { committed: new Set<number>(), nothing: new Set<number>(), unknown: new Set<number>(), codes: new Set<unknown>() }
  let next = 0
  let stopped = false
  const fail = (id: number, error: { code?: string }, inTransaction: boolean): void => {
    told.codes.add(error.code)
    const certain = inTransaction && error.code !== 'ERR_DB_POOL_COMMIT_UNKNOWN'
    told[certain ? 'nothing' : 'unknown'].add(id)
  }
  const workers = Array.from({ length: 8 }, async (_, worker) => {
    const inTransaction = worker % 2 === 0
    while (!stopped) {
      const id = next++
      const insert = inTransaction
        ? db.transaction((tx) => tx.query('insert into films values ($1)', [id]))
        : db.query('insert into films values ($1)', [id])
      await insert.then(
        () => void told.committed.add(id),
        (error: { code?: string }) => fail(id, error, inTransaction),
      )
    }
  })
  return {
    told,
    async stop(): Promise<void> {
      stopped = true
      await Promise.all(workers)
    },
  }
}

/** The load has got `more` further inserts through. */
async function through(told: { committed: Set<number> }, more: number): Promise<void> {
  const mark = told.committed.size + more
  await vi.waitFor(() => expect(told.committed.size).toBeGreaterThan(mark), { timeout: 60_000, interval: 20 })
}

describe('a promotion under load', () => {
  beforeEach(start, 120_000)
  afterEach(stop)

  it('loses nothing that was acknowledged, and the callers go on by themselves', async () => {
    // What is acknowledged is at the standby as well.
    await on(primary, "alter system set synchronous_standby_names = '*'")
    await on(primary, 'select pg_reload_conf()')
    const db = open()
    const { told, stop } = load(db)
    await through(told, 100)
    await primary.kill()
    await on(standby, 'select pg_promote()')
    await through(told, 100)
    await stop()
    const there = await idsOn(standby)
    expect([...told.committed].filter((id) => !there.has(id))).toEqual([])
    expect([...told.nothing].filter((id) => there.has(id))).toEqual([])
    expect([...there].filter((id) => !told.committed.has(id) && !told.unknown.has(id))).toEqual([])
    expect([...told.codes]).not.toContain('25006')
  }, 120_000)

  it('gives up what hangs on a primary that fell silent, and does not go back to it', async () => {
    // A statement may take a minute; the failover may not.
    const db = open({ statementTimeoutMs: 60_000 })
    await db.query('select 1')
    const heard: string[] = []
    await db.listen(
      'films',
      (payload) => heard.push(payload),
      () => heard.push('gap'),
    )
    const hanging = db.query('select pg_sleep(600)').catch((error: { code: string }) => error.code)
    await vi.waitFor(() => expect(db.stats().inUse).toBe(1), { timeout: 10_000 })
    primary.freeze()
    await on(standby, 'select pg_promote()')
    const { told, stop } = load(db)
    await through(told, 20)
    expect(await hanging).toBe('ERR_DB_POOL_CONNECTION_LOST')
    await vi.waitFor(() => expect(heard).toEqual(['gap']), { timeout: 20_000 })
    await db.query("notify films, 'from the new one'")
    await vi.waitFor(() => expect(heard).toEqual(['gap', 'from the new one']), { timeout: 20_000 })
    primary.thaw()
    // The former primary would take writes.
    const before = await idsOn(primary)
    await db.rotate(decodeURIComponent(new URL(primary.url).password))
    await through(told, 50)
    await stop()
    expect(await idsOn(primary)).toEqual(before)
    // Nor does a process that starts now.
    const late = open()
    expect((await late.query('select pg_is_in_recovery() as standby, count(*)::int as n from films')).rows[0]).toEqual({
      standby: false,
      n: (await idsOn(standby)).size,
    })
  }, 120_000)
})

describe('while the primary stays', () => {
  beforeAll(start, 120_000)
  afterAll(stop)
  afterEach(closePools)

  it('a writer that turns out to be a standby is looked for anew', async () => {
    // One name, two servers, as an address that moves.
    let target = standby
    const proxy = net.createServer((near) => {
      const far = net.connect(target.port, target.host)
      near.on('error', () => {}).on('close', () => far.destroy())
      far.on('error', () => {}).on('close', () => near.destroy())
      near.pipe(far).pipe(near)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const url = Object.assign(new URL(primary.url), { port: String((proxy.address() as net.AddressInfo).port) })
    const db = open({ url: url.href })
    await Promise.all([1, 2, 3].map(() => db.query('select pg_sleep(0.05)')))
    target = primary
    await expect(db.query('insert into films values (1)')).rejects.toMatchObject({ code: '25006' })
    await db.query('insert into films values (1)')
    // A program's own read-only transaction is nobody's fault.
    const { open: before } = db.stats()
    await expect(db.transaction((tx) => tx.query('insert into films values (2)'), { readOnly: true })).rejects.toMatchObject({
      code: '25006',
    })
    await db.drain()
    expect(db.stats().open).toBe(before)
    await db.close()
    proxy.close()
  }, 60_000)

  const count = async (db: DbPool) =>
    (await db.replica.query<{ n: number; standby: boolean }>('select count(*)::int as n, pg_is_in_recovery() as standby from seats'))
      .rows[0]
  beforeEach(async () => {
    await on(primary, 'create table if not exists seats (id int); truncate seats')
    await vi.waitFor(() => on(standby, 'select * from seats'), { timeout: 30_000 })
  })

  it('reads on a replica see what their request has written, also in the next request and in another process', async () => {
    const db = open({ url: primary.url, replicas: [standby.url] })
    const other = open({ url: primary.url, replicas: [standby.url] })
    await on(standby, 'select pg_wal_replay_pause()')
    const token = await withCausality(db, undefined, async () => {
      expect(await causalityToken(db)).toBeUndefined()
      await db.query('insert into seats values (1)')
      expect(await count(db)).toEqual({ n: 1, standby: false })
      await db.transaction((tx) => tx.query('insert into seats values (2)'))
      expect(await count(db)).toEqual({ n: 2, standby: false })
      return causalityToken(db)
    })
    expect(await count(db)).toEqual({ n: 0, standby: true })
    await causalityHook(other)({ headers: { 'x-platform-causality': token } }, async () => {
      expect(await count(other)).toEqual({ n: 2, standby: false })
    })
    await on(standby, 'select pg_wal_replay_resume()')
    const caughtUp = () => withCausality(other, token, async () => expect(await count(other)).toEqual({ n: 2, standby: true }))
    await vi.waitFor(caughtUp, { timeout: 30_000 })
    for (const wrong of ['', 'x', '1/2/3', `${'F'.repeat(9)}/0`]) {
      await withCausality(db, wrong, async () => expect(await causalityToken(db)).toBeUndefined())
    }
    await expect(causalityToken(db)).rejects.toMatchObject({ code: 'ERR_DB_POOL_OPTION' })
  }, 60_000)

  it('reads that lose against recovery are answered by the writer', async () => {
    const db = open({ url: primary.url, replicas: [standby.url] })
    await on(primary, 'insert into seats values (1)')
    await vi.waitFor(async () => expect(await count(db)).toEqual({ n: 1, standby: true }), { timeout: 30_000 })
    const read = db.replica.query('select id, pg_is_in_recovery() as standby, pg_sleep(2) from seats')
    await vi.waitFor(async () => expect(await on(standby, "select 1 from pg_stat_activity where wait_event = 'PgSleep'")).toHaveLength(1), {
      timeout: 10_000,
    })
    await on(primary, 'alter table seats add column title text')
    expect((await read).rows).toMatchObject([{ id: 1, standby: false }])
  }, 60_000)
})
