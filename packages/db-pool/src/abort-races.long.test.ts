import { testPostgres } from '@platform/stack/testing'
import { expect, it } from 'vitest'
import { abortRaces } from './abort-races.fixture.ts'
import { createDbPool } from './index.ts'

it('of a million aborts none hits the statement of another', async () => {
  const seed = Number(process.env['PLATFORM_TEST_SEED'] ?? Date.now() % 2 ** 31)
  console.log(`PLATFORM_TEST_SEED=${seed}`)
  await using database = await testPostgres()
  await using db = createDbPool({ url: database.url, maxSize: 4, acquireTimeoutMs: 60_000 })
  const { aborted, foreign } = await abortRaces(db, 1_000_000, seed)
  expect(foreign).toEqual([])
  expect(aborted).toBeGreaterThan(250_000)
}, 2_400_000)
