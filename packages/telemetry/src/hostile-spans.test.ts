import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { trace, type Tracer } from '@opentelemetry/api'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { startCollector } from './collector.fixture.ts'
import { startTelemetry, type Telemetry, type TelemetryOptions } from './index.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

async function exporting(
  options: Partial<TelemetryOptions> = {},
): Promise<{ telemetry: Telemetry; tracer: Tracer; spans: Record<string, unknown>[] }> {
  const collector = await startCollector()
  const telemetry = startTelemetry({ service: 'orders', sampling: { ratio: 1 }, traces: { otlpUrl: collector.url }, ...options })
  cleanups.push(
    () => collector.close(),
    () => telemetry.close(),
  )
  return { telemetry, tracer: trace.getTracer('t'), spans: collector.spans as unknown as Record<string, unknown>[] }
}

const boom = () => {
  throw new Error('boom')
}
const circular: Record<string, unknown> = {}
circular['self'] = circular

describe('a span that no collector takes', () => {
  it.each<[string, unknown]>([
    ['a BigInt', 7n],
    ['a circular object', circular],
    ['an object that cannot be read', { toString: boom, toJSON: boom, [Symbol.toPrimitive]: boom }],
    ['a symbol', Symbol('s')],
    ['half a character', '\ud800'],
    ['nothing', undefined],
  ])('with %s as its name costs no other', async (_, name) => {
    const { telemetry, tracer, spans } = await exporting()
    tracer.startSpan('before').end()
    tracer.startSpan(name as string).end()
    tracer.startSpan('after').end()
    await telemetry.close()
    expect(spans.map((span) => span['name'])).toEqual(expect.arrayContaining(['before', 'after']))
    expect(telemetry.stats()).toMatchObject({ exported: 3, dropped: 0 })
  })

  it('is cleaned value by value', async () => {
    const { telemetry, tracer, spans } = await exporting()
    const odd = {
      nan: Number.NaN,
      endless: Number.POSITIVE_INFINITY,
      huge: 2 ** 70,
      half: 'a\ud800',
      long: 'x'.repeat(100_000),
      list: [1, null, Number.NaN],
    }
    const span = tracer.startSpan('work', { attributes: { ...odd, ok: 1.5 } as never })
    span.addEvent('event', { nan: Number.NaN })
    span.end()
    await telemetry.close()
    const [{ attributes }] = spans as [{ attributes: Record<string, unknown> }]
    expect(attributes).toMatchObject({ nan: 'NaN', endless: 'Infinity', huge: String(2 ** 70), half: 'a\ufffd', ok: 1.5 })
    expect(attributes['long']).toHaveLength(4_096)
    expect(Object.keys(attributes)).not.toContain('')
  })

  it('is bounded, and so is a batch of large ones', async () => {
    const { telemetry, tracer, spans } = await exporting()
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`k${index}`, 'x'.repeat(5_000)]))
    for (let index = 0; index < 30; index++) tracer.startSpan('large', { attributes: many }).end()
    await telemetry.close({ timeoutMs: 3_000 })
    const { exported, dropped } = telemetry.stats()
    expect(exported + dropped).toBe(30)
    expect(exported).toBeGreaterThan(20)
    for (const { attributes } of spans) expect(Object.keys(attributes as object).length).toBeLessThanOrEqual(128)
  })

  it('shows nothing that a statement takes by position when it names a secret, and what others take', async () => {
    const redactor = { text: (text: string) => text, isSecretName: (name: string) => name === 'password' }
    const { telemetry, tracer, spans } = await exporting({ redactor })
    const query = (text: string) =>
      tracer
        .startSpan('query', { attributes: { 'db.query.text': text, 'db.query.parameter.0': 'hunter2', 'db.query.summary': 'shown' } })
        .end()
    query('update users set password = $1')
    query('update films set title = $1')
    await telemetry.close()
    const shown = spans.map(({ attributes }) => (attributes as Record<string, unknown>)['db.query.parameter.0'])
    expect(shown).toEqual(['[redacted]', 'hunter2'])
    expect(spans.map(({ attributes }) => (attributes as Record<string, unknown>)['db.query.summary'])).toEqual(['shown', 'shown'])
  })

  it('shows no secret when a redactor is given', async () => {
    const redactor = { text: (text: string) => text.replaceAll('hunter2', '***'), isSecretName: (name: string) => name === 'password' }
    const { telemetry, tracer, spans } = await exporting({ redactor })
    const span = tracer.startSpan('login hunter2', { attributes: { password: 'x', url: '/?q=hunter2', list: ['hunter2'] } })
    span.addEvent('hunter2', { password: 'y' })
    span.setStatus({ code: 2, message: 'hunter2' })
    span.end()
    await telemetry.close()
    expect(JSON.stringify(spans)).not.toContain('hunter2')
    expect(spans[0]!['attributes']).toMatchObject({ password: '[redacted]', url: '/?q=***' })
  })
})

it('a scope of any name, too', async () => {
  const { telemetry, spans } = await exporting()
  trace
    .getTracer(7n as unknown as string)
    .startSpan('work')
    .end()
  await telemetry.close()
  expect(spans).toHaveLength(1)
})

describe("the user's code", () => {
  it('may throw, as a route and as a logger: the request is measured, losses are counted', async () => {
    const failing = { debug: boom, info: boom, warn: boom, error: boom }
    const refusing = createServer((request, response) => request.resume().on('end', () => response.writeHead(400).end()))
    await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => (refusing.close(), refusing.closeAllConnections()))
    const otlpUrl = `http://127.0.0.1:${(refusing.address() as AddressInfo).port}`
    const telemetry = startTelemetry({ service: 's', sampling: { ratio: 1 }, traces: { otlpUrl }, logger: failing })
    const unhandled = vi.fn<() => void>()
    process.on('unhandledRejection', unhandled)
    cleanups.push(() => process.off('unhandledRejection', unhandled))
    telemetry.inbound({ method: 'GET', url: '/', headers: {}, route: boom }, () => 1)
    const { body } = await telemetry.metrics({ headers: {} })
    expect(body).toContain('http_server_request_duration_seconds_count{http_request_method="GET",url_scheme="http"} 1')
    await telemetry.close()
    expect(telemetry.stats()).toMatchObject({ dropped: 1 })
    expect(unhandled).not.toHaveBeenCalled()
  })

  it('may return a thenable, which is asked once and waited for', async () => {
    const telemetry = startTelemetry({ service: 's' })
    cleanups.push(() => telemetry.close())
    let asked = 0
    // oxlint-disable-next-line unicorn/no-thenable -- what a query builder is
    const query = { then: (resolve: (rows: number) => void) => (asked++, void setTimeout(resolve, 40, 3)) }
    const rows = await telemetry.inbound({ method: 'GET', url: '/', headers: {} }, () => query as unknown as Promise<number>)
    expect([rows, asked]).toEqual([3, 1])
    await new Promise(setImmediate)
    const { body } = await telemetry.metrics({ headers: {} })
    expect(Number(/request_duration_seconds_sum\{.*\} (.*)/.exec(body)?.[1])).toBeGreaterThan(0.03)
  })
})

it.each([
  ['http://me:secret@host/orders/7?x=1', '/orders/7'],
  ['*', '*'],
  ['/orders?token=secret', '/orders'],
  ['host:443', '/'],
])('the path of the target %s is %s', async (url, path) => {
  const { telemetry, spans } = await exporting()
  telemetry.inbound({ method: 'GET', url, headers: {} }, () => 1)
  await telemetry.close()
  expect(spans[0]!['attributes']).toMatchObject({ 'url.path': path })
})

it('believes what the collector says it did not keep', async () => {
  const answer = JSON.stringify({ partialSuccess: { rejectedSpans: '3', errorMessage: 'over quota' } })
  const server = createServer((request, response) => request.resume().on('end', () => response.writeHead(200).end(answer)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => (server.close(), server.closeAllConnections()))
  const otlpUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const telemetry = startTelemetry({ service: 's', sampling: { ratio: 1 }, traces: { otlpUrl } })
  for (let index = 0; index < 5; index++) trace.getTracer('t').startSpan('a').end()
  await telemetry.close()
  expect(telemetry.stats()).toMatchObject({ exported: 2, dropped: 3 })
})
