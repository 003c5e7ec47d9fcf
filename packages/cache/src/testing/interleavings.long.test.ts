import { expect, it } from 'vitest'
import { runInterleavings } from './interleavings.ts'

it('no stale read and no promise that hangs in a million schedules', { timeout: 3_600_000 }, async () => {
  for (let part = 0; part < 50; part++) {
    const { seed, findings, reads } = await runInterleavings({ schedules: 20_000 })
    console.info(`${part + 1} of 50, seed ${seed}: ${reads} reads`)
    expect(findings).toEqual([])
  }
})
