import { afterEach, describe, expect, it, vi } from 'vitest'
import { Coherence } from '../coherence.ts'
import { Delivery } from '../delivery.ts'
import { Generations } from '../generations.ts'
import { replayInterleaving, runInterleavings } from './interleavings.ts'

const seedOf = (name: string): number | undefined => (process.env[name] === undefined ? undefined : Number(process.env[name]))

describe('interleavings', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  it('no stale read and no promise that hangs in 20,000 schedules', { timeout: 600_000 }, async () => {
    const result = await runInterleavings({ schedules: 20_000, seed: seedOf('SEED') })
    console.info(`seed ${result.seed}: ${result.reads} reads, served ${JSON.stringify(result.served)}`)
    expect(result.findings).toEqual([])
    for (const count of Object.values(result.served)) expect(count).toBeGreaterThan(result.schedules / 100)
  })

  it('the same number is the same schedule', async () => {
    const lines = async (): Promise<string[]> => {
      const seen: string[] = []
      for (let schedule = 0; schedule < 20; schedule++) await replayInterleaving(schedule, { onEvent: (line) => seen.push(line) })
      return seen
    }
    const first = await lines()
    expect(first.length).toBeGreaterThan(200)
    expect(await lines()).toEqual(first)
  })

  const broken: [string, () => void][] = [
    ['what was overtaken holds all the same', () => vi.spyOn(Generations.prototype, 'holds').mockReturnValue(true)],
    ['the change of a tag goes unnoticed', () => vi.spyOn(Generations.prototype, 'voidTag').mockReturnValue()],
    ['the deletion of a key goes unnoticed by what is under way', () => vi.spyOn(Generations.prototype, 'voidKey').mockReturnValue()],
    ['a token counts as heard of before its message has come', () => vi.spyOn(Coherence.prototype, 'hasHeard').mockReturnValue(true)],
    ['a token says that l2 has what is still on its way', () => vi.spyOn(Delivery.prototype, 'takesAll').mockResolvedValue(true)],
  ]
  for (const [name, breakIt] of broken)
    it(`finds the stale reads of a cache in which ${name}`, { timeout: 120_000 }, async () => {
      breakIt()
      let stale = 0
      for (let seed = 1; stale === 0 && seed <= 10; seed++) {
        const { findings } = await runInterleavings({ schedules: 1_000, seed })
        stale = findings.filter(({ kind }) => kind === 'stale').length
      }
      expect(stale).toBeGreaterThan(0)
    })
})
