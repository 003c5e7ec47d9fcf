import { spawnSync } from 'node:child_process'
import { metrics } from '@opentelemetry/api'
import { afterEach, describe, expect, it } from 'vitest'
import { startTelemetry, type Telemetry } from './index.ts'

let telemetry: Telemetry | undefined
afterEach(() => telemetry?.close())

async function page(measure: (meter: ReturnType<typeof metrics.getMeter>) => void, accept = ''): Promise<string> {
  telemetry = startTelemetry({ service: 's', instance: 'a' })
  measure(metrics.getMeter('library'))
  const { body } = await telemetry.metrics({ headers: { accept } })
  return body
}

/** What makes a scraper refuse a page: a name of a sample under two TYPEs, a label twice or of the server; and what promtool says, if it is there. */
function faults(body: string): string[] {
  const found: string[] = []
  const owners = new Map<string, string>()
  let family = ''
  for (const line of body.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line)
    if (type) family = `${type[1]} ${type[2]}`
    if (line === '' || line.startsWith('#')) continue
    const [, name = '', labels = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*?)\})? \S+(?: # .*)?$/.exec(line) ?? []
    const keys = [...labels.matchAll(/([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*"/g)].map(([, key]) => key!)
    if (name === '') found.push(`no sample: ${line}`)
    if ((owners.get(name) ?? family) !== family) found.push(`of two families: ${line}`)
    if (new Set(keys).size < keys.length) found.push(`a label twice: ${line}`)
    if (keys.some((key) => key.startsWith('__') || (key === 'le' && !name.endsWith('_bucket')))) found.push(`a reserved label: ${line}`)
    owners.set(name, family)
  }
  if (body.endsWith('# EOF\n')) return found
  const promtool = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' })
  return [...found, ...(promtool.stderr ?? '').split('\n').filter((line) => line.includes('parsing error'))]
}

describe('the page stays readable with', () => {
  it.each<[string, (meter: ReturnType<typeof metrics.getMeter>) => void]>([
    ['labels of the server', (meter) => meter.createHistogram('a').record(1, { le: 'x', __name__: 'y', '': 'z', quantile: 'q' })],
    ['labels that become equal', (meter) => meter.createCounter('b').add(1, { 'a.b': 1, 'a-b': 2, 'a b': 3 })],
    [
      'a counter and a gauge of one name',
      (meter) => {
        meter.createCounter('x').add(1)
        meter.createGauge('x').record(1)
        meter.createGauge('x.total').record(1)
        meter.createGauge('x_total_gauge').record(1)
      },
    ],
    [
      'a histogram and gauges of its samples',
      (meter) => {
        meter.createHistogram('x').record(1)
        for (const ending of ['count', 'sum', 'bucket']) meter.createGauge(`x.${ending}`).record(1)
      },
    ],
    ["a gauge of the target's name", (meter) => (meter.createGauge('target.info').record(1), meter.createGauge('target').record(1))],
    ['names that are none', (meter) => (meter.createGauge('日本').record(1), meter.createGauge('1').record(1))],
    ['values that are none', (meter) => (meter.createGauge('n').record(Number.NaN), meter.createCounter('h').add(1, { t: '\ud800"\\\n' }))],
  ])('%s', async (_, measure) => {
    for (const accept of ['text/plain', 'application/openmetrics-text']) {
      expect(faults(await page(measure, accept))).toEqual([])
      await telemetry?.close()
    }
  })
})

it('labels that become equal are joined, so that neither is lost', async () => {
  const body = await page((meter) => meter.createCounter('b').add(1, { 'a.b': 1, 'a-b': 2, 'a b': 3 }))
  expect(body).toContain('b_total{a_b="3;2;1"} 1')
})

it('says once that series are counted together', async () => {
  const told: object[] = []
  const logger = { debug() {}, info() {}, warn: (fields: object) => void told.push(fields), error() {} }
  telemetry = startTelemetry({ service: 's', logger })
  const counter = metrics.getMeter('t').createCounter('visits')
  for (let index = 0; index < 2_500; index++) counter.add(1, { user: index })
  for (let round = 0; round < 3; round++) await telemetry.metrics({ headers: {} })
  expect(told).toEqual([{ metric: 'visits' }])
})

it('one page serves all who ask at once', async () => {
  telemetry = startTelemetry({ service: 's' })
  let read = 0
  metrics
    .getMeter('t')
    .createObservableGauge('g')
    .addCallback((result) => (read++, result.observe(1)))
  await Promise.all(Array.from({ length: 10 }, () => telemetry!.metrics({ headers: {} })))
  expect(read).toBe(1)
})

it('a part of another SDK is noticed, and left as it is', async () => {
  const asked: string[] = []
  const nothing: object = new Proxy({}, { get: () => () => nothing })
  metrics.setGlobalMeterProvider({ getMeter: (name: string) => (asked.push(name), nothing) } as never)
  try {
    expect(() => startTelemetry({ service: 's' })).toThrow(expect.objectContaining({ code: 'ERR_TELEMETRY_ALREADY_STARTED' }))
    metrics.getMeter('after')
    expect(asked).toEqual(['after'])
  } finally {
    metrics.disable()
  }
  telemetry = startTelemetry({ service: 's' })
})

it('a flood of routes does not use up the exemplars of the others', async () => {
  telemetry = startTelemetry({ service: 's', sampling: { ratio: 1 } })
  const visit = (path: string) => telemetry!.inbound({ method: 'GET', url: path, headers: {}, route: () => path }, () => 1)
  visit('/ordinary')
  for (let index = 0; index < 6_000; index++) visit(`/user/${index}`)
  visit('/ordinary')
  const { body } = await telemetry.metrics({ headers: { accept: 'application/openmetrics-text' } })
  expect(body.split('\n').some((line) => line.includes('"/ordinary"') && line.includes(' # {'))).toBe(true)
})
