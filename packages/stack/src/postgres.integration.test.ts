import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import pg from 'pg'
import { describe, expect, it, vi } from 'vitest'
import { isAlive } from './process-tree.ts'
import { startPostgres } from './postgres.ts'
import { testPostgres } from './testing.ts'

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

describe('startPostgres', () => {
  it('answers, keeps data over a kill and a restart, and leaves neither process nor folder', async () => {
    const server = await startPostgres({ fresh: true })
    const { pid, logFile } = server as { pid: number; logFile: string }
    expect(server.version).toMatch(/^18\./)
    expect(server.origin).toContain('npm')
    await query(server.url, 'create table kept as select 42 as answer')

    await server.kill()
    expect(server.pid).toBeUndefined()
    expect(isAlive(pid)).toBe(false)
    await expect(query(server.url, 'select 1')).rejects.toThrow('ECONNREFUSED')

    await server.restart()
    expect(await query(server.url, 'select answer from kept')).toEqual([{ answer: 42 }])
    await server.restart()
    expect(await query(server.url, 'select answer from kept')).toEqual([{ answer: 42 }])

    const last = server.pid as number
    await Promise.all([server.stop(), server.stop()])
    expect(isAlive(last)).toBe(false)
    expect(existsSync(dirname(logFile))).toBe(false)
  })

  it('lets nobody in without the password', async () => {
    await using server = await startPostgres({ fresh: true })
    const url = new URL(server.url)
    url.password = 'wrong'
    await expect(query(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' })
  })

  it('applies settings', async () => {
    await using server = await startPostgres({ fresh: true, settings: { wal_level: 'logical' }, durable: true })
    expect(await query(server.url, "select current_setting('wal_level') as wal, current_setting('fsync') as fsync")).toEqual([
      { wal: 'logical', fsync: 'on' },
    ])
  })
})

describe('a standby', () => {
  it('has what its primary has, takes no writes, and is a primary of its own once promoted', async () => {
    await using primary = await startPostgres({ fresh: true, sql: 'create table films as select 1 as id' })
    await using standby = await startPostgres({ fresh: true, follows: primary })
    await query(primary.url, 'insert into films values (2)')
    await vi.waitFor(async () => expect(await query(standby.url, 'select count(*)::int as n from films')).toEqual([{ n: 2 }]), {
      timeout: 30_000,
    })
    await expect(query(standby.url, 'insert into films values (3)')).rejects.toMatchObject({ code: '25006' })
    await primary.kill()
    await query(standby.url, 'select pg_promote()')
    await query(standby.url, 'insert into films values (3)')
    await standby.restart()
    expect(await query(standby.url, 'select count(*)::int as n from films')).toEqual([{ n: 3 }])
  }, 60_000)

  it('is refused what its primary brings, and a server that has no data here', async () => {
    await expect(startPostgres({ fresh: true, follows: {} as never })).rejects.toMatchObject({ option: 'follows' })
    const elsewhere = { name: 'postgres', url: 'postgres://x:y@127.0.0.1:1/z' } as never
    await expect(startPostgres({ fresh: true, follows: elsewhere, sql: 'select 1' })).rejects.toMatchObject({ option: 'follows' })
  })
})

describe('what a server holds at first', () => {
  it('are the extensions, in later databases too, the SQL, and the user', async () => {
    const credentials = { user: 'mary', password: 'her-word' }
    await using server = await startPostgres({
      fresh: true,
      credentials,
      extensions: ['citext'],
      sql: ['create table a (t citext)', 'insert into a values (1)'],
    })
    expect(server.url).toContain('//mary:her-word@')
    expect(await query(server.url, "select t, current_user::text as name from a where t = '1'")).toEqual([{ t: '1', name: 'mary' }])
    await query(server.url, 'create database later')
    const later = server.url.replace(/postgres$/, 'later')
    expect(await query(later, "select extname from pg_extension where extname = 'citext'")).toHaveLength(1)
  })

  it('fails the start when the server refuses it', async () => {
    await expect(startPostgres({ fresh: true, sql: 'create nonsense' })).rejects.toMatchObject({ code: 'ERR_STACK_REFUSED' })
    await expect(startPostgres({ credentials: { password: 'a b' } })).rejects.toMatchObject({ option: 'credentials.password' })
    await expect(startPostgres({ sql: 5 as never })).rejects.toMatchObject({ option: 'sql' })
    await expect(startPostgres({ extensions: ['"'] })).rejects.toMatchObject({ option: 'extensions' })
  })
})

describe('testPostgres with contents', () => {
  it('makes them once and copies them for everybody; a reset brings them back', async () => {
    const mark = randomBytes(4).toString('hex')
    let made = 0
    const prepare = async (url: string) => {
      made++
      await query(url, 'insert into films values (2)')
    }
    const contents = { sql: `create table films as select 1 as id; comment on table films is '${mark}'`, prepare, version: '1' }
    await using one = await testPostgres(contents)
    await using two = await testPostgres(contents)
    expect(made).toBe(1)
    await query(one.url, 'delete from films')
    expect(await query(two.url, 'select id from films order by id')).toEqual([{ id: 1 }, { id: 2 }])
    await one.reset()
    expect(await query(one.url, 'select id from films order by id')).toEqual([{ id: 1 }, { id: 2 }])
  })

  it('is made by one of many who ask at once, and not left half made', async () => {
    const mark = randomBytes(4).toString('hex')
    let made = 0
    const failing = { version: mark, prepare: () => Promise.reject(new Error('no')) }
    await expect(testPostgres(failing)).rejects.toThrow('no')
    const contents = { version: mark, prepare: async () => void made++ }
    const places = await Promise.all(Array.from({ length: 5 }, () => testPostgres(contents)))
    expect(made).toBe(1)
    await Promise.all(places.map((each) => each.close()))
    await expect(testPostgres({ prepare: async () => {} })).rejects.toMatchObject({ option: 'version' })
    await expect(testPostgres({ tables: [] } as never)).rejects.toMatchObject({ option: 'tables' })
  })
})

describe('testPostgres', () => {
  it('gives each caller a database of its own and drops it even while it is used', async () => {
    const [one, two] = await Promise.all([testPostgres(), testPostgres()])
    await query(one.url, 'create table mine ()')
    expect(await query(two.url, "select to_regclass('mine') as found")).toEqual([{ found: null }])
    const idle = new pg.Client({ connectionString: one.url })
    idle.on('error', () => {})
    await idle.connect()
    await Promise.all([one.close(), one.close(), two.close()])
    await expect(query(one.url, 'select 1')).rejects.toMatchObject({ code: '3D000' })
  })
})
