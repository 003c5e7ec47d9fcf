import 'reflect-metadata'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { ServiceUnavailableException } from '@nestjs/common'
import { createDbPool, type DbPool, toTypeOrmDriver } from '@platform/db-pool'
import { type FaultProxy, faultProxy } from '@platform/stack'
import { testPostgres } from '@platform/stack/testing'
import { DataSource } from 'typeorm'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
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
const sleep = (count: number) =>
  vi.waitFor(async () => expect(await source.query(`select 1 ${sleeping}`)).toHaveLength(count), { timeout: 20_000, interval: 50 })
const wake = () => source.query(`select pg_terminate_backend(pid) ${sleeping}`)
// The server sleeps on when its client is gone.
afterEach(async () => {
  await wake()
  await sleep(0)
})

const answer = () => new ServerResponse(new IncomingMessage(new Socket()))
const asks = {
  'a statement': () => source.query('select pg_sleep(60)'),
  'a transaction': () => source.transaction((manager) => manager.query('select pg_sleep(60)')),
}

it.each(Object.entries(asks))('answers 503 when the connection breaks under %s', async (_, ask) => {
  const response = answer()
  const asked = orUnavailable(response, ask()).catch((error: unknown) => error)
  await sleep(1)
  proxy.cut()
  proxy.restore()
  expect(await asked).toBeInstanceOf(ServiceUnavailableException)
  expect(response.getHeader('retry-after')).toBe('1')
})

it.each(Object.entries(asks))('answers 503 when the server ends the connection of %s', async (_, ask) => {
  const response = answer()
  const asked = orUnavailable(response, ask()).catch((error: unknown) => error)
  await sleep(1)
  await wake()
  expect(await asked).toBeInstanceOf(ServiceUnavailableException)
  expect(response.getHeader('retry-after')).toBe('1')
})

it('leaves every other error as it is', async () => {
  await expect(orUnavailable(answer(), source.query('select nothing'))).rejects.toMatchObject({ code: '42703' })
  const own = new Error('of the program')
  await expect(orUnavailable(answer(), Promise.reject(own))).rejects.toBe(own)
})
