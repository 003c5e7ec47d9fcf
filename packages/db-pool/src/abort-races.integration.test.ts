import { testPostgres } from '@platform/stack/testing'
import { expect, it } from 'vitest'
import { abortRaces } from './abort-races.fixture.ts'
import { createDbPool } from './index.ts'

it('of 20,000 aborts none hits the statement of another', async () => {
  const seed = Number(process.env['PLATFORM_TEST_SEED'] ?? Date.now() % 2 ** 31)
  console.log(`PLATFORM_TEST_SEED=${seed}`)
  await using database = await testPostgres()
  await using db = createDbPool({ url: database.url, maxSize: 4, acquireTimeoutMs: 60_000 })
  const { aborted, foreign } = await abortRaces(db, 20_000, seed)
  expect(foreign).toEqual([])
  expect(aborted).toBeGreaterThan(5_000)
  expect(db.stats().open).toBeLessThanOrEqual(4)
}, 120_000)
