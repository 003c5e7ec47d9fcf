import { testRedis } from '@platform/stack/testing'
import { expect, it } from 'vitest'
import { runFourProcesses } from './redis-processes.fixture.ts'

it('admits 6,000 ± 1 % in a minute at 100/s to four processes whose clocks are 5 s apart', { timeout: 120_000 }, async () => {
  const redis = await testRedis()
  try {
    const run = await runFourProcesses(redis.url, 60_000)
    console.log(run)
    expect(run.admitted).toBeGreaterThanOrEqual(5940)
    expect(run.admitted).toBeLessThanOrEqual(6060)
    // Each process may see one answer late.
    expect(run.mostInASecond).toBeLessThanOrEqual(100 + 20 + 4)
  } finally {
    await redis.close()
  }
})
