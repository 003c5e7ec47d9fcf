import { expect, it } from 'vitest'
import { runProcesses } from './processes.fixture.ts'

it.each([
  ['over l2 alone nobody gets what was invalidated before he asked', false],
  ['with l1 and a bus nobody gets it after the declared bound', true],
])('3 processes with batches, stale windows, soft timeouts and early refresh: %s', { timeout: 120_000 }, async (_what, bus) => {
  const results = await runProcesses({ processes: 3, seconds: 5, bus })
  expect(results.flatMap(({ old }) => old)).toEqual([])
  const sum = (of: (result: (typeof results)[number]) => number): number => results.reduce((total, result) => total + of(result), 0)
  const done = {
    reads: sum(({ reads }) => reads),
    writes: sum(({ writes }) => writes),
    hits: sum(({ served }) => served.hits),
    misses: sum(({ served }) => served.misses),
    stale: sum(({ served }) => served.stale),
  }
  console.info(JSON.stringify(done))
  for (const count of Object.values(done)) expect(count).toBeGreaterThan(5)
})
