import { createDbPool } from '@platform/db-pool'
import { testPostgres } from '@platform/stack/testing'
import { expect, it, vi } from 'vitest'
import { createBroker } from '../../index.ts'
import { sold } from '../../testing/sold.ts'
import { postgres } from '../postgres.ts'
import { tablesOf } from './tables.ts'

it('the time that a group was without members begins anew once one is seen', { timeout: 60_000 }, async () => {
  await using database = await testPostgres()
  await using db = createDbPool({ url: database.url })
  const expired = vi.fn<() => void>()
  const driver = postgres({ url: database.url })
  await using broker = createBroker({ driver, service: 'presence', onGroupExpired: expired })
  await broker.consume(sold, async () => {}, { group: 'g', groupExpiresAfterMs: 20_000 })
  // As after a standstill of its only member, which nobody heard of for most of the time.
  const { rows } = await db.query<{ schema: string }>(
    `select table_schema as schema from information_schema.tables where table_name = 'platform_subscription'`,
  )
  const { subscription } = tablesOf(rows[0]!.schema)
  await db.query(`update ${subscription} set absent_ms = 17000`)
  const absence = async () => (await db.query<{ ms: number }>(`select absent_ms::int as ms from ${subscription}`)).rows[0]?.ms
  await vi.waitFor(async () => expect(await absence()).toBe(0), { timeout: 20_000, interval: 100 })
  expect(expired).not.toHaveBeenCalled()
})
