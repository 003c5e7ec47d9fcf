import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { context, propagation, trace } from '@opentelemetry/api'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { startCollector } from './collector.fixture.ts'
import { startTelemetry, type Telemetry } from './index.ts'

let collector: Awaited<ReturnType<typeof startCollector>>
let telemetry: Telemetry
let server: Server
let seen: IncomingHttpHeaders[]
let answer: RequestListener
let url: string

beforeEach(async () => {
  collector = await startCollector()
  telemetry = startTelemetry({ service: 'shop', sampling: { ratio: 1 }, traces: { otlpUrl: collector.url }, baggage: ['tenant'], env: {} })
  seen = []
  answer = (_request, response) => response.end('ok')
  server = createServer((request, response) => {
    seen.push(request.headers)
    answer(request, response)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterEach(async () => {
  await telemetry.close()
  collector.close()
  server.close()
  server.closeAllConnections()
})

const inSpan = <T>(run: () => T): T =>
  trace.getTracer('test').startActiveSpan('work', (span) => {
    try {
      return run()
    } finally {
      span.end()
    }
  })
const read = async (path: string, init?: RequestInit) => (await fetch(url + path, init)).text()
const page = async () => (await telemetry.metrics({ headers: {} })).body
const calls = async () => {
  await telemetry.close()
  return collector.spans.filter(({ kind }) => kind === 3)
}

it('fetch is a span below its caller, a duration, and the trace of who answers', async () => {
  await inSpan(() => read('/films/7?token=hunter2'))
  const duration = (await page()).split('\n').find((line) => line.startsWith('http_client_request_duration_seconds_count'))
  expect(duration).toContain('http_request_method="GET"')
  expect(duration).toContain('http_response_status_code="200"')
  const [call] = await calls()
  const [work] = collector.spans.filter(({ name }) => name === 'work')
  expect(call).toMatchObject({ name: 'GET', traceId: work!.traceId, parentSpanId: work!.spanId, error: false })
  expect(call!.attributes).toMatchObject({ 'url.full': `${url}/films/7`, 'server.address': '127.0.0.1' })
  expect(seen[0]!['traceparent']).toBe(`00-${call!.traceId}-${call!.spanId}-01`)
})

it('a refusal, and an answer that never comes, are errors by name', async () => {
  answer = ({ url: path }, response) => (path === '/no' ? response.writeHead(503).end() : response.destroy())
  await inSpan(() => read('/no'))
  await expect(inSpan(() => read('/gone'))).rejects.toThrow('fetch failed')
  const errors = (await page()).match(/^http_client_request_duration_seconds_count.*$/gm)
  expect(errors).toHaveLength(2)
  const spans = await calls()
  expect(spans.map(({ error }) => error)).toEqual([true, true])
  expect(spans.map(({ attributes }) => attributes['error.type'])).toEqual(['503', 'UND_ERR_SOCKET'])
})

it('work in the background makes no traces, and what is traced already is left alone', async () => {
  await read('/poll')
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  await inSpan(() => read('/mine', { headers: { traceparent } }))
  expect(seen.map((headers) => headers['traceparent'])).toEqual([undefined, traceparent])
  expect((await page()).match(/^http_client_request_duration_seconds_count.* 1$/gm)).toHaveLength(1)
  expect(await calls()).toEqual([])
})

it('hands on baggage of allowed names only, and takes no other', async () => {
  const baggage = propagation.createBaggage({ tenant: { value: 'a' }, session: { value: 'hunter2' } })
  await context.with(propagation.setBaggage(context.active(), baggage), () => inSpan(() => read('/')))
  expect(seen[0]!['baggage']).toBe('tenant=a')
  const taken = telemetry.inbound({ method: 'GET', url: '/', headers: { baggage: 'tenant=b,session=x' } }, () =>
    propagation.getActiveBaggage()?.getAllEntries(),
  )
  expect(taken).toEqual([['tenant', { value: 'b' }]])
})

it('ends with the telemetry', async () => {
  await telemetry.close()
  await read('/')
  expect(seen[0]!['traceparent']).toBeUndefined()
})
