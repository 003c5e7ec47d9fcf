import { expect, it } from 'vitest'
import { runProcesses, sumOf } from './processes.fixture.ts'

it.each([
  ['over l2 alone nobody gets what was invalidated before he asked', false],
  ['with l1 and a bus nobody gets it after the declared bound, and with the token of its writer nobody at all', true],
])('4 processes with batches, stale windows, soft timeouts and early refresh: %s', { timeout: 600_000 }, async (_what, bus) => {
  const results = await runProcesses({ processes: 4, seconds: 60, bus })
  expect(results.flatMap(({ old }) => old)).toEqual([])
  const done = sumOf(results)
  console.info(JSON.stringify(done))
  for (const count of Object.values(done)) expect(count).toBeGreaterThan(5)
})
