/**
 * One measurement in a process of its own: `node telemetry.ts <name> [quick]` prints its CPU time in µs. `scrape` is a page of 1,000 series with 14
 * buckets, `record` one duration of one of 100 routes, `count` one addition, `hook` what a request pays for its span and its duration.
 */
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { createHistogramMetric, createPromCounter, promPage } from './prom-client.ts'
import { metrics } from '@opentelemetry/api'
import { startTelemetry } from '@platform/telemetry'

type Variant = { readonly times: number; call(index: number): unknown }

const routes = Array.from({ length: 100 }, (_, index) => `/route/${index}/:id`)
const page = { headers: {} }

function ours() {
  const telemetry = startTelemetry({ service: 'bench', sampling: { ratio: 0.1 }, env: {} })
  return { telemetry, meter: metrics.getMeter('bench') }
}

const variants: Record<string, () => Variant> = {
  'scrape/ours': () => {
    const { telemetry, meter } = ours()
    const histogram = meter.createHistogram('http.test.duration', { unit: 's' })
    for (let index = 0; index < 1_000; index++) histogram.record(0.05, { route: `/route/${index}`, method: 'GET', status: 200 })
    return {
      times: 40,
      async call() {
        const { body } = await telemetry.metrics(page)
        if (body.split('http_test_duration_seconds_bucket{').length !== 15_001) throw new Error('series are missing')
      },
    }
  },
  'scrape/prom-client': () => {
    const histogram = createHistogramMetric(['route', 'method', 'status'])
    for (let index = 0; index < 1_000; index++) histogram.observe({ route: `/route/${index}`, method: 'GET', status: '200' }, 0.05)
    return {
      times: 40,
      async call() {
        if ((await promPage()).split('http_test_duration_seconds_bucket{').length !== 15_001) throw new Error('series are missing')
      },
    }
  },
  'record/ours': () => {
    const histogram = ours().meter.createHistogram('http.test.duration', { unit: 's' })
    return { times: 300_000, call: (index) => histogram.record(0.05, { route: routes[index % 100]!, method: 'GET', status: 200 }) }
  },
  'record/prom-client': () => {
    const histogram = createHistogramMetric(['route', 'method', 'status'])
    return { times: 300_000, call: (index) => histogram.observe({ route: routes[index % 100]!, method: 'GET', status: '200' }, 0.05) }
  },
  'count/ours': () => {
    const counter = ours().meter.createCounter('test.things')
    return { times: 300_000, call: (index) => counter.add(1, { route: routes[index % 100]! }) }
  },
  'count/prom-client': () => {
    const counter = createPromCounter(['route'])
    return { times: 300_000, call: (index) => counter.inc({ route: routes[index % 100]! }, 1) }
  },
  'hook/ours': () => {
    const { telemetry } = ours()
    return {
      times: 200_000,
      call(index) {
        const emitter = Object.assign(new EventEmitter(), { statusCode: 200, headersSent: true, writableFinished: true })
        const response = emitter as unknown as ServerResponse
        const request = { method: 'GET', url: '/route/7', headers: {}, response, carriesContext: true, route: () => routes[index % 100]! }
        telemetry.inbound(request, () => {})
        response.emit('close')
      },
    }
  },
}

const [name = '', pace = ''] = process.argv.slice(2)
const variant = variants[name]?.()
if (variant === undefined) throw new Error(`no variant ${name}`)
const times = Math.ceil(variant.times / (pace === 'quick' ? 4 : 1))
const run = async (count: number): Promise<void> => {
  for (let index = 0; index < count; index++) {
    const result = variant.call(index)
    if (result instanceof Promise) await result
  }
}
await run(Math.ceil(times / 3))
const before = process.cpuUsage()
await run(times)
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ cpuUs: (user + system) / times }))
process.exit(0)
