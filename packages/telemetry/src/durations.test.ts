import { expect, it } from 'vitest'
import { Durations, type SeriesKey } from './durations.ts'

it('keeps apart what differs in any one of its values', () => {
  const durations = new Durations('d', { unit: 's', description: '', boundaries: [1] })
  const keys: SeriesKey[] = [
    ['/a', 'GET', 'http', 200, undefined],
    ['/b', 'GET', 'http', 200, undefined],
    [undefined, 'GET', 'http', 200, undefined],
    ['/a', 'PUT', 'http', 200, undefined],
    ['/a', 'GET', 'https', 200, undefined],
    ['/a', 'GET', 'http', 500, undefined],
    ['/a', 'GET', 'http', 200, 'timeout'],
  ]
  for (let turn = 0; turn < 2; turn++) {
    for (const [index, key] of keys.entries()) durations.record([...key] as SeriesKey, () => ({ index }), 0.5, undefined)
  }
  const seen = durations.data().dataPoints.map(({ attributes, value }) => [attributes['index'], value.count])
  expect(seen).toEqual(keys.map((_, index) => [index, 2]))
})
