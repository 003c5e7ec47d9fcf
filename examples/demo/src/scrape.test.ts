import { describe, expect, it } from 'vitest'
import { quantile, type Sample, sum } from './metrics.ts'
import { samplesOf, since } from './scrape.ts'

const calls = (value: number): Sample => ({ name: 'calls_total', labels: {}, value })
const bucket = (le: string, value: number): Sample => ({ name: 'duration_bucket', labels: { le }, value })

describe('since', () => {
  it('counts what came between two scrapes', () => {
    const spent = samplesOf(since([[calls(10)], [calls(5)]], [[calls(17)], [calls(6)]]))
    expect(sum(spent, 'calls_total')).toBe(8)
  })

  it('counts a series from nothing that was not there before', () => {
    expect(sum(samplesOf(since([[]], [[calls(3)]])), 'calls_total')).toBe(3)
    expect(sum(samplesOf(since([undefined], [[calls(3)]])), 'calls_total')).toBe(3)
  })

  it('takes an instance that was started again from its own beginning', () => {
    const spent = since([[calls(100), bucket('1', 50)], [calls(5)]], [[calls(4), bucket('1', 60)], [calls(9)]])
    expect(sum(samplesOf(spent), 'calls_total')).toBe(8)
    expect(sum(samplesOf(spent), 'duration_bucket')).toBe(60)
  })

  it('knows nothing of an instance that did not answer in the end', () => {
    expect(since([[calls(1)]], [undefined])).toEqual([undefined])
  })

  it('lets a quantile speak of one part alone', () => {
    const rush = [bucket('0.01', 0), bucket('1', 100), bucket('+Inf', 100)]
    const end = [bucket('0.01', 100), bucket('1', 200), bucket('+Inf', 200)]
    expect(quantile(end, 'duration', 0.95)).toBeGreaterThan(0.01)
    expect(quantile(samplesOf(since([rush], [end])), 'duration', 0.95)).toBeLessThanOrEqual(0.01)
  })
})
