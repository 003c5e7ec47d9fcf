import { channel } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { trace } from '@opentelemetry/api'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { startCollector } from './collector.fixture.ts'
import { startTelemetry, type Telemetry } from './index.ts'
import { logRecord } from './log-record.ts'

let collector: Awaited<ReturnType<typeof startCollector>>
let telemetry: Telemetry | undefined

beforeEach(async () => {
  collector = await startCollector()
})

afterEach(async () => {
  await telemetry?.close()
  telemetry = undefined
  collector.close()
})

const log = (line: object | string) =>
  channel('platform.logger.line').publish(typeof line === 'string' ? line : `${JSON.stringify(line)}\n`)

async function exported(): Promise<void> {
  trace.getTracer('test').startSpan('work').end()
  log({ level: 30, time: 1_700_000_000_123, name: 'orders', msg: 'placed' })
  await telemetry!.close()
}

it('needs no code: the environment names the collector, what it asks for, and who sends', async () => {
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/otlp/`,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=a%20b,x-both=shared',
    OTEL_EXPORTER_OTLP_LOGS_HEADERS: 'x-both=logs',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=prod,service.version=7,service.name=unused',
    OTEL_SERVICE_NAME: 'orders',
  }
  telemetry = startTelemetry({ sampling: { ratio: 1 }, env })
  await exported()
  expect(collector.requests.toSorted()).toEqual(['POST /otlp/v1/logs', 'POST /otlp/v1/traces'])
  expect(
    collector.headers.map((headers) => [headers['x-api-key'], headers['content-encoding'], headers['x-both']].join(' ')).toSorted(),
  ).toEqual(['a b gzip logs', 'a b gzip shared'])
  expect(collector.spans).toMatchObject([{ name: 'work', service: 'orders' }])
  expect(collector.logs[0]!.resource).toMatchObject({
    'service.name': 'orders',
    'service.version': '7',
    'deployment.environment.name': 'prod',
  })
  expect(telemetry.stats()).toMatchObject({ exported: 1, dropped: 0, queued: 0, logs: { exported: 1, dropped: 0, queued: 0 } })
})

it('options win over the environment, and headers of one collector do not go to another', async () => {
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
    OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=secret',
    OTEL_SERVICE_NAME: 'other',
  }
  const target = { otlpUrl: collector.url, headers: { 'x-tenant': 'a' } }
  telemetry = startTelemetry({ service: 'orders', sampling: { ratio: 1 }, traces: target, logs: target, env })
  await exported()
  expect(collector.headers.map((headers) => [headers['x-tenant'], headers['x-api-key']])).toEqual([
    ['a', undefined],
    ['a', undefined],
  ])
  expect(collector.spans[0]!.service).toBe('orders')
})

it('an address for one signal is used as it is; none and OTEL_SDK_DISABLED send nothing', async () => {
  telemetry = startTelemetry({
    service: 'orders',
    sampling: { ratio: 1 },
    env: { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/custom`, OTEL_LOGS_EXPORTER: 'none' },
  })
  await exported()
  expect(collector.requests).toEqual(['POST /custom'])
  telemetry = startTelemetry({
    service: 'orders',
    sampling: { ratio: 1 },
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_SDK_DISABLED: 'true' },
  })
  await exported()
  expect(collector.requests).toHaveLength(1)
})

it.each([
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_EXPORTER_OTLP_HEADERS: 'authorization' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_EXPORTER_OTLP_HEADERS: 'authorization=hunter2%0A' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd' },
  { OTEL_RESOURCE_ATTRIBUTES: 'a=%' },
])('a variable that cannot be is refused by name, without its secret: %j', (env) => {
  const start = () => startTelemetry({ service: 'orders', env })
  expect(start).toThrow(/^startTelemetry: OTEL_\w+ /)
  expect(start).not.toThrow(/hunter2/)
})

it('a line becomes a record: time, severity, message, trace, and the rest as attributes', async () => {
  telemetry = startTelemetry({ service: 'orders', logs: { otlpUrl: collector.url }, env: {} })
  const ids = { trace_id: 'a'.repeat(32), span_id: 'b'.repeat(16), trace_flags: '01' }
  log({
    level: 40,
    time: 1_700_000_000_123,
    pid: 1,
    hostname: 'h',
    name: 'orders',
    ...ids,
    user: { id: 7, tags: ['x', null] },
    msg: 'almost',
  })
  log({
    '@timestamp': '2023-11-14T22:13:20.123Z',
    'log.level': 'error',
    message: 'no',
    'trace.id': ids.trace_id,
    'span.id': ids.span_id,
    'error.type': 'E',
  })
  log('12:00:00.000 INFO  orders: for people\n')
  await telemetry.close()
  const [json, ecs, pretty] = collector.logs
  expect(json).toMatchObject({ severityText: 'warn', severityNumber: 13, timeUnixNano: '1700000000123000000', body: 'almost', flags: 1 })
  expect([json!.traceId, json!.spanId]).toEqual([ids.trace_id, ids.span_id])
  expect(Object.keys(json!.attributes)).toEqual(['name', 'user'])
  expect(ecs).toMatchObject({ severityText: 'error', severityNumber: 17, timeUnixNano: '1700000000123000000', body: 'no' })
  expect(Object.keys(ecs!.attributes)).toEqual(['error.type'])
  expect(pretty).toMatchObject({ severityNumber: 0, body: '12:00:00.000 INFO  orders: for people' })
})

it('no line breaks a batch', () => {
  for (const line of ['', 'null', '[1]', '{"level":"x","time":"never","trace_id":1}', '{"a":{"b":[[{}]]},"n":1e300,"t":9e15}']) {
    expect(() => JSON.stringify(logRecord(line, '1'))).not.toThrow()
  }
})

it('a collector that is gone costs lines their copy, not the process, and each is counted', async () => {
  collector.answer.status = 400
  telemetry = startTelemetry({ service: 'orders', logs: { otlpUrl: collector.url }, env: {} })
  for (let index = 0; index < 5_000; index++) log({ level: 30, time: 1, msg: String(index) })
  await telemetry.close()
  expect(telemetry.stats().logs).toEqual({ exported: 0, dropped: 5_000, queued: 0 })
})

it('what comes while a batch is sent waits for company: a request a second, or one for 512', async () => {
  telemetry = startTelemetry({ service: 's', sampling: { ratio: 1 }, traces: { otlpUrl: collector.url }, env: {} })
  const from = performance.now()
  let spans = 0
  while (performance.now() - from < 2_500) {
    trace.getTracer('t').startSpan('work').end()
    spans++
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const seconds = (performance.now() - from) / 1_000
  expect(collector.requests.length).toBeLessThanOrEqual(spans / 512 + seconds + 1)
  await telemetry.close()
  expect(telemetry.stats()).toMatchObject({ exported: spans, dropped: 0 })
})

it('waits as long as a busy collector asks', async () => {
  const times: number[] = []
  const busy = createServer((request, response) => {
    request.resume().on('end', () => {
      times.push(performance.now())
      if (times.length === 1) response.writeHead(429, { 'retry-after': '2' }).end()
      else response.end('{}')
    })
  })
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve))
  const otlpUrl = `http://127.0.0.1:${(busy.address() as AddressInfo).port}`
  telemetry = startTelemetry({ service: 's', sampling: { ratio: 1 }, traces: { otlpUrl }, env: {} })
  for (let index = 0; index < 512; index++) trace.getTracer('t').startSpan('work').end()
  await vi.waitFor(() => expect(telemetry!.stats().exported).toBe(512), 20_000)
  busy.close()
  busy.closeAllConnections()
  // Without being asked it would have tried after one second. Timers may be early by a millisecond.
  expect(times[1]! - times[0]!).toBeGreaterThan(1_990)
})

it('what was sent makes room: four times 10 MB pass a queue of 16', async () => {
  telemetry = startTelemetry({ service: 's', logs: { otlpUrl: collector.url }, env: {} })
  const line = 'x'.repeat(1_000_000)
  for (let round = 1; round <= 4; round++) {
    for (let index = 0; index < 10; index++) log(line)
    await vi.waitFor(() => expect(telemetry!.stats().logs).toEqual({ exported: round * 10, dropped: 0, queued: 0 }), 20_000)
  }
})
