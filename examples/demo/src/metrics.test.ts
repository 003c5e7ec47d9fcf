import { describe, expect, it } from 'vitest'
import { parseMetrics, quantile, sum } from './metrics.ts'

const page = `# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{result="hit",cache="a"} 80
requests_total{result="hit",cache="b"} 5
requests_total{result="miss",cache="a"} 15
wait_seconds_bucket{le="0.1"} 50
wait_seconds_bucket{le="0.2"} 90
wait_seconds_bucket{le="+Inf"} 100
wait_seconds_count 100
`

describe('metrics', () => {
  const samples = parseMetrics(page)

  it('adds up the series that carry the labels', () => {
    expect(sum(samples, 'requests_total')).toBe(100)
    expect(sum(samples, 'requests_total', { result: 'hit' })).toBe(85)
  })

  it('interpolates a quantile inside its bucket', () => {
    expect(quantile(samples, 'wait_seconds', 0.5)).toBeCloseTo(0.1)
    expect(quantile(samples, 'wait_seconds', 0.7)).toBeCloseTo(0.15)
    expect(quantile(samples, 'wait_seconds', 0.99)).toBe(0.2)
    expect(quantile(samples, 'nothing', 0.5)).toBeUndefined()
  })
})
