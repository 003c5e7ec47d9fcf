import { describe, expect, it } from 'vitest'
import { figures } from './figures.ts'
import type { Sample } from './metrics.ts'
import type { Part } from './trade.ts'

const histogram = 'http_client_request_duration_seconds'
/** A page on which `fast` calls took at most 10 ms and `slow` ones up to a second, since the start. */
const page = (fast: number, slow: number): Sample[] =>
  [
    ['0.01', fast],
    ['1', fast + slow],
    ['+Inf', fast + slow],
  ].map(([le, value]) => ({ name: `${histogram}_bucket`, labels: { le: String(le) }, value: Number(value) }))

const part = (before: Sample[], after: Sample[]): Part => ({
  pace: { kind: 'rush', concurrency: 1 },
  traffic: {} as Part['traffic'],
  before: { pages: [before], processorUs: {} },
  after: { pages: [after], processorUs: {} },
})
const latency = (rush: Part, steady: Part | undefined) =>
  figures({ books: [], rush, steady, overhead: undefined, warm: [[]], end: [[]], setUpMs: 0, propagation: '' }).find(({ name }) =>
    name.startsWith('service-to-service'),
  )!

describe('a latency on the scorecard', () => {
  it('is judged by the steady part alone, and shows the rush beside it', () => {
    const slowRush = part(page(0, 0), page(0, 100))
    const { holds, value, inRush } = latency(slowRush, part(page(0, 100), page(100, 100)))
    expect(holds).toBe(true)
    expect(value).toBeCloseTo(9.5)
    expect(Number.parseFloat(inRush!)).toBeGreaterThan(900)
  })

  it('misses when the steady part is slow, however fast the rush was', () => {
    expect(latency(part(page(0, 0), page(100, 0)), part(page(100, 0), page(100, 100))).holds).toBe(false)
  })

  it('is no miss where nothing was measured', () => {
    const rush = part(page(0, 0), page(100, 0))
    expect(latency(rush, undefined)).toMatchObject({ reason: 'one order makes no steady part' })
    expect(latency(rush, part(page(100, 0), page(100, 0)))).toMatchObject({ reason: 'nothing was recorded' })
    expect(latency(rush, undefined).holds).toBeUndefined()
  })
})

describe('the overhead of the gateway on the scorecard', () => {
  const card = (overhead: { pairs: number; p95Ms: number } | undefined) => {
    const rush = part(page(0, 0), page(100, 0))
    const all = figures({ books: [], rush, steady: rush, overhead, warm: [[]], end: [[]], setUpMs: 0, propagation: '' })
    return all.find(({ name }) => name.startsWith('gateway overhead'))!
  }

  it('is judged where it was measured, and no miss where it was not', () => {
    expect(card({ pairs: 100, p95Ms: 9.9 })).toMatchObject({ holds: true, measured: '9.9 ms in 100 pairs' })
    expect(card({ pairs: 100, p95Ms: 10.1 }).holds).toBe(false)
    expect(card(undefined).holds).toBeUndefined()
  })
})
