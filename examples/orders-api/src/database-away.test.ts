import 'reflect-metadata'
import { ServiceUnavailableException } from '@nestjs/common'
import { createDbPool, type DbPool, toTypeOrmDriver } from '@platform/db-pool'
import { type FaultProxy, faultProxy } from '@platform/stack'
import { testPostgres } from '@platform/stack/testing'
import { DataSource } from 'typeorm'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { orUnavailable } from './database-away.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let proxy: FaultProxy
let db: DbPool
let source: DataSource
beforeAll(async () => {
  database = await testPostgres()
  proxy = await faultProxy(database.url)
  db = createDbPool({ url: proxy.url })
  source = new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db) })
  await source.initialize()
})
afterAll(async () => {
  await source.destroy()
  await db.close({ timeoutMs: 1_000 })
  await proxy.close()
  await database.close()
})

const sleeping = `from pg_stat_activity where datname = current_database() and query like '%pg_sleep(60)%' and pid <> pg_backend_pid()`
const sleeps = () =>
  vi.waitFor(async () => expect(await source.query(`select 1 ${sleeping}`)).toHaveLength(1), { timeout: 20_000, interval: 50 })

const asks = {
  'a statement': () => source.query('select pg_sleep(60)'),
  'a transaction': () => source.transaction((manager) => manager.query('select pg_sleep(60)')),
}

it.each(Object.entries(asks))('answers 503 when the connection breaks under %s', async (_, ask) => {
  const asked = orUnavailable(ask()).catch((error: unknown) => error)
  await sleeps()
  proxy.cut()
  proxy.restore()
  expect(await asked).toBeInstanceOf(ServiceUnavailableException)
})

it.each(Object.entries(asks))('answers 503 when the server ends the connection of %s', async (_, ask) => {
  const asked = orUnavailable(ask()).catch((error: unknown) => error)
  await sleeps()
  await source.query(`select pg_terminate_backend(pid) ${sleeping}`)
  expect(await asked).toBeInstanceOf(ServiceUnavailableException)
})

it('leaves every other error as it is', async () => {
  await expect(orUnavailable(source.query('select nothing'))).rejects.toMatchObject({ code: '42703' })
  const own = new Error('of the program')
  await expect(orUnavailable(Promise.reject(own))).rejects.toBe(own)
})
