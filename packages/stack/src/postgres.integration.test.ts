import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import pg from 'pg'
import { describe, expect, it } from 'vitest'
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
