import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { context, isSpanContextValid, metrics, trace } from '@opentelemetry/api'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { startBlackHole, startCollector } from './collector.fixture.ts'
import { startTelemetry, type Telemetry, TelemetryError, type TelemetryOptions } from './index.ts'

const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 15_000, interval: 10 })
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

function start(options: Partial<TelemetryOptions> = {}): Telemetry {
  const telemetry = startTelemetry({ service: 'orders', version: '1.2.3', instance: 'a', ...options })
  cleanups.push(() => telemetry.close({ timeoutMs: 100 }))
  return telemetry
}

type Listener = (request: IncomingMessage, response: ServerResponse) => unknown
async function serve(telemetry: Telemetry, listener: Listener, route?: string): Promise<string> {
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    telemetry.inbound({ method, url, headers, response, route: () => route }, () => listener(request, response))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanups.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Series of a page by their text, and what follows a `#` in the line. */
function parse(body: string): {
  value(series: string): number | undefined
  exemplar(series: string): string | undefined
  types: Map<string, string>
} {
  const values = new Map<string, number>()
  const exemplars = new Map<string, string>()
  const types = new Map<string, string>()
  for (const line of body.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line)
    if (type) {
      expect(types.has(type[1] as string), `one TYPE of ${type[1]}`).toBe(false)
      types.set(type[1] as string, type[2] as string)
    }
    if (line === '' || line.startsWith('#')) continue
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*\})?) (\S+)(?: # (.*))?$/.exec(line)
    expect(sample, `a sample: ${line}`).not.toBeNull()
    const [, series, value, exemplar] = sample as unknown as [string, string, string, string | undefined]
    expect(values.has(series), `one sample of ${series}`).toBe(false)
    values.set(series, Number(value))
    if (exemplar) exemplars.set(series, exemplar)
  }
  return { value: (series) => values.get(series), exemplar: (series) => exemplars.get(series), types }
}
const page = async (telemetry: Telemetry, accept?: string) => {
  const { contentType, body } = await telemetry.metrics({ headers: { accept } })
  return { contentType, body, ...parse(body) }
}

describe('traces', () => {
  it('go from server to server and through a message, and arrive at the collector as one', async () => {
    const collector = await startCollector()
    cleanups.push(() => collector.close())
    const telemetry = start({ sampling: { ratio: 1 }, traces: { otlpUrl: collector.url } })
    let message: Record<string, string> = {}
    const inner = await serve(
      telemetry,
      (_request, response) => {
        message = { 'content-type': 'x' }
        telemetry.outbound(message)
        response.end('ok')
      },
      '/films/:id',
    )
    const outer = await serve(telemetry, async (_request, response) => {
      const headers: Record<string, string> = {}
      telemetry.outbound(headers)
      response.end(await (await fetch(`${inner}/films/7?secret=1`, { headers })).text())
    })
    expect(await (await fetch(`${outer}/page`)).text()).toBe('ok')

    let handled: string | undefined
    telemetry.inbound({ method: 'PROCESS', url: 'orders.placed', headers: message }, () => {
      handled = trace.getSpanContext(context.active())?.traceId
      trace.getTracer('queue').startSpan('process orders.placed').end()
    })
    await until(() => expect(collector.spans).toHaveLength(3))
    const [film, first, process] = ['GET /films/:id', 'GET', 'process orders.placed'].map((name) =>
      collector.spans.find((span) => span.name === name),
    )
    expect(new Set(collector.spans.map(({ traceId }) => traceId))).toEqual(new Set([handled]))
    expect(first?.parentSpanId).toBeUndefined()
    expect(film?.parentSpanId).toBe(first?.spanId)
    expect(process?.parentSpanId).toBe(film?.spanId)
    expect(film).toMatchObject({
      kind: 2,
      service: 'orders',
      attributes: {
        'http.request.method': 'GET',
        'http.route': '/films/:id',
        'url.path': '/films/7',
        'url.scheme': 'http',
        'http.response.status_code': 200,
      },
    })
    expect(JSON.stringify(collector.spans)).not.toContain('secret')
    expect(collector.requests[0]).toBe('POST /v1/traces')
    // The collector has them a moment before its answer is read.
    await until(() => expect(telemetry.stats()).toMatchObject({ exported: 3, dropped: 0, queued: 0, traces: { sampled: 1, unsampled: 0 } }))
  })

  it('follow the decision of the caller', async () => {
    const telemetry = start({ sampling: { ratio: 0 } })
    const seen: boolean[] = []
    const ask = (flag: string) =>
      telemetry.inbound(
        { method: 'GET', url: '/', headers: { traceparent: `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flag}` } },
        () => {
          seen.push(((trace.getSpanContext(context.active())?.traceFlags ?? 0) & 1) === 1)
        },
      )
    ask('01')
    ask('00')
    expect(seen).toEqual([true, false])
    expect(telemetry.stats().traces).toEqual({ sampled: 0, unsampled: 0 })
  })

  it('ignore a malformed traceparent', () => {
    const telemetry = start({ sampling: { ratio: 1 } })
    telemetry.inbound({ method: 'GET', url: '/', headers: { traceparent: '00-zz-1-01' } }, () => {
      expect(isSpanContextValid(trace.getSpanContext(context.active()) as never)).toBe(true)
    })
    expect(telemetry.stats().traces.sampled).toBe(1)
  })

  it('are sampled at 10 % by default, children with their root', async () => {
    const telemetry = start()
    const tracer = trace.getTracer('t')
    let children = 0
    for (let i = 0; i < 20_000; i++) {
      const root = tracer.startSpan('root')
      const child = tracer.startSpan('child', {}, trace.setSpan(context.active(), root))
      expect(child.spanContext().traceFlags).toBe(root.spanContext().traceFlags)
      children += child.spanContext().traceFlags & 1
    }
    const { sampled, unsampled } = telemetry.stats().traces
    expect(sampled + unsampled).toBe(20_000)
    expect(children).toBe(sampled)
    // Five standard deviations of a fair 10 % are 0.0106.
    expect(Math.abs(sampled / 20_000 - 0.1)).toBeLessThan(0.0107)
    const { value } = await page(telemetry)
    expect(value('platform_telemetry_spans_total{sampled="true"}')).toBe(sampled)
    expect(value('platform_telemetry_spans_total{sampled="false"}')).toBe(unsampled)
  })
})

it('is sampled by the last 56 bits of its id, as everyone decides who samples consistently', () => {
  start({ sampling: { ratio: 0.25 } })
  for (let index = 0; index < 1_000; index++) {
    const { traceId, traceFlags } = trace.getTracer('t').startSpan('root').spanContext()
    expect(traceFlags).toBe(BigInt(`0x${traceId.slice(-14)}`) >= 3n * 2n ** 54n ? 1 : 0)
  }
})

describe('the metrics page', () => {
  it('counts requests by route and status, with names and buckets of the conventions', async () => {
    const telemetry = start()
    const films = await serve(
      telemetry,
      (request, response) => response.writeHead(request.url === '/films/0' ? 503 : 200).end(),
      '/films/:id',
    )
    const unrouted = await serve(telemetry, (_request, response) => response.writeHead(404).end())
    await fetch(`${films}/films/1`)
    await fetch(`${films}/films/2`)
    await fetch(`${films}/films/0`)
    await fetch(`${unrouted}/wp-admin`)
    const name = 'http_server_request_duration_seconds'
    await until(async () => {
      const { value, types, body, contentType } = await page(telemetry)
      const ok = 'http_request_method="GET",http_response_status_code="200",http_route="/films/:id",url_scheme="http"'
      expect(value(`${name}_count{${ok}}`)).toBe(2)
      expect(value(`${name}_bucket{${ok},le="10.0"}`)).toBe(2)
      expect(value(`${name}_bucket{${ok},le="+Inf"}`)).toBe(2)
      expect(body.match(/http_server_request_duration_seconds_bucket\{.*http_response_status_code="200".*le="/g)).toHaveLength(15)
      expect(
        value(
          `${name}_count{error_type="503",http_request_method="GET",http_response_status_code="503",http_route="/films/:id",url_scheme="http"}`,
        ),
      ).toBe(1)
      expect(value(`${name}_count{http_request_method="GET",http_response_status_code="404",url_scheme="http"}`)).toBe(1)
      expect(types.get(name)).toBe('histogram')
      expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8')
      expect(body).not.toContain('wp-admin')
      expect(body).not.toContain('otel_scope')
      expect(value('target_info{service_instance_id="a",service_name="orders",service_version="1.2.3"}')).toBe(1)
    })
  })

  it('counts a request whose client left as aborted', async () => {
    const telemetry = start()
    let arrived = () => {}
    const came = new Promise<void>((resolve) => (arrived = resolve))
    const url = await serve(telemetry, () => arrived())
    const sent = httpRequest(url).on('error', () => {})
    sent.end()
    await came
    sent.destroy()
    await until(async () =>
      expect(
        (await page(telemetry)).value(
          'http_server_request_duration_seconds_count{error_type="aborted",http_request_method="GET",url_scheme="http"}',
        ),
      ).toBe(1),
    )
  })

  it('is valid OpenMetrics when asked, with exemplars of sampled requests only', async () => {
    const telemetry = start({ sampling: { ratio: 0 } })
    const url = await serve(telemetry, (_request, response) => response.end(), '/r')
    const accept = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3'
    const series =
      'http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/r",url_scheme="http"}'
    await fetch(url)
    await until(async () => expect((await page(telemetry, accept)).value(series)).toBe(1))
    expect((await page(telemetry, accept)).body).not.toContain(' # {')
    const traceId = '0af7651916cd43dd8448eb211c80319c'
    await fetch(url, { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } })
    await until(async () => expect((await page(telemetry, accept)).value(series)).toBe(2))
    const open = await page(telemetry, accept)
    expect(open.contentType).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    expect(open.body.endsWith('\n# EOF\n')).toBe(true)
    expect(
      open.body.match(
        new RegExp(`_bucket\\{.*le=".*"\\} \\d+ # \\{span_id="[0-9a-f]{16}",trace_id="${traceId}"\\} [0-9.e-]+ [0-9.]+$`, 'gm'),
      ),
    ).toHaveLength(1)
    expect(open.types.get('platform_telemetry_spans')).toBe('counter')
    const text = await page(telemetry, 'text/plain')
    expect(text.body).not.toContain(' # {')
    expect(text.types.get('platform_telemetry_spans_total')).toBe('counter')
  })

  it('shows the runtime, and what libraries measure, named by the rules and merged over scopes', async () => {
    const telemetry = start()
    for (const scope of ['a', 'b']) {
      const meter = metrics.getMeter(scope)
      meter.createCounter('cache.requests', { unit: '{request}', description: 'a "b"\\\nc' }).add(2, { key: 'x"y\\z\n' })
      meter.createHistogram('db.client.operation.duration', { unit: 's' }).record(0.02, { 'db.system.name': 'redis' })
      meter.createUpDownCounter('db.client.connection.count', { unit: '{connection}' }).add(3, { state: scope })
    }
    metrics.getMeter('a').createGauge('share', { unit: '1' }).record(0.5)
    const { value, types, body } = await page(telemetry)
    expect(value('cache_requests_total{key="x\\"y\\\\z\\n"}')).toBe(4)
    expect(body).toContain('# HELP cache_requests_total a "b"\\\\\\nc\n')
    expect(value('db_client_operation_duration_seconds_bucket{db_system_name="redis",le="0.05"}')).toBe(2)
    expect(value('db_client_operation_duration_seconds_bucket{db_system_name="redis",le="0.01"}')).toBe(0)
    expect(value('db_client_connection_count{state="b"}')).toBe(3)
    expect(types.get('db_client_connection_count')).toBe('gauge')
    expect(value('share_ratio')).toBe(0.5)
    expect(value('process_memory_usage_bytes')).toBeGreaterThan(1e6)
    expect(value('process_cpu_time_seconds_total{cpu_mode="user"}')).toBeGreaterThan(0)
    expect(value('nodejs_eventloop_utilization_ratio')).toBeLessThanOrEqual(1)
    expect(value('v8js_memory_heap_used_bytes{v8js_heap_space_name="old_space"}')).toBeGreaterThan(0)
    await until(async () => expect((await page(telemetry)).value('nodejs_eventloop_delay_p99_seconds')).toBeGreaterThan(0))
    // The young are collected again and again, when there are enough of them.
    await until(async () => {
      Array.from({ length: 100_000 }, (_, index) => ({ index }))
      expect((await page(telemetry)).value('v8js_gc_duration_seconds_count{v8js_gc_type="minor"}')).toBeGreaterThan(0)
    })
  })
})

it('listeners of the request and the response run inside its span', async () => {
  const telemetry = start({ sampling: { ratio: 1 } })
  const seen: [string, boolean][] = []
  const look = (where: string) => seen.push([where, trace.getActiveSpan() !== undefined])
  const closed = Promise.withResolvers<void>()
  const url = await serve(telemetry, (request, response) => {
    request.on('data', () => look('data'))
    request.on('end', () => (look('end'), response.end('ok')))
    response.on('finish', () => look('finish'))
    response.on('close', () => (look('close'), closed.resolve()))
  })
  await (await fetch(url, { method: 'POST', body: 'x' })).text()
  await closed.promise
  expect(seen).toEqual(['data', 'end', 'finish', 'close'].map((where) => [where, true]))
})

describe('close', () => {
  const spans = (count: number) => {
    for (let i = 0; i < count; i++) trace.getTracer('t').startSpan('work').end()
  }

  it('sends what is queued first', async () => {
    const collector = await startCollector()
    cleanups.push(() => collector.close())
    const telemetry = start({ sampling: { ratio: 1 }, traces: { otlpUrl: collector.url } })
    spans(2_000)
    const closing = telemetry.close()
    expect(telemetry.close()).toBe(closing)
    await closing
    expect(collector.spans).toHaveLength(2_000)
    expect(telemetry.stats()).toMatchObject({ exported: 2_000, dropped: 0, queued: 0 })
    await expect(telemetry.metrics({ headers: {} })).rejects.toMatchObject({ code: 'ERR_TELEMETRY_CLOSED' })
  })

  it('says what a black hole cost, within its bound, and leaves no socket', async () => {
    const hole = await startBlackHole()
    cleanups.push(() => hole.close())
    const warnings: object[] = []
    const logger = { debug() {}, info() {}, warn: (fields: object) => void warnings.push(fields), error() {} }
    const telemetry = start({ sampling: { ratio: 1 }, traces: { otlpUrl: hole.url }, shutdownTimeoutMs: 300, logger })
    spans(5_000)
    const from = performance.now()
    await telemetry.close({ timeoutMs: 60_000 })
    expect(performance.now() - from).toBeLessThan(5_000)
    expect(telemetry.stats()).toMatchObject({ exported: 0, dropped: 5_000, queued: 0 })
    expect(warnings.at(-1)).toMatchObject({ dropped: 5_000 })
    await until(() => expect(hole.connections()).toBe(0))
  })

  it('lets the process end by itself', async () => {
    const hole = await startBlackHole()
    cleanups.push(() => hole.close())
    const child = spawn(process.execPath, ['--conditions=@platform/source', join(import.meta.dirname, 'exit.fixture.ts'), hole.url])
    cleanups.push(() => child.kill('SIGKILL'))
    let out = ''
    child.stdout.on('data', (chunk) => (out += String(chunk)))
    let errors = ''
    child.stderr.on('data', (chunk) => (errors += String(chunk)))
    const [code] = await once(child, 'close')
    expect({ code, errors }).toEqual({ code: 0, errors: '' })
    expect(JSON.parse(out)).toMatchObject({ exported: 0, dropped: 1_500 })
  })

  it('keeps a batch that a busy collector refuses for now, drops one that it refuses for good', async () => {
    const collector = await startCollector()
    cleanups.push(() => collector.close())
    const telemetry = start({ sampling: { ratio: 1 }, traces: { otlpUrl: collector.url } })
    collector.answer.status = 503
    spans(512)
    await until(() => expect(collector.requests).toHaveLength(1))
    collector.answer.status = 200
    await until(() => expect(telemetry.stats()).toMatchObject({ exported: 512, dropped: 0 }))
    collector.answer.status = 400
    spans(512)
    await until(() => expect(telemetry.stats()).toMatchObject({ exported: 512, dropped: 512 }))
  })
})

describe('startTelemetry', () => {
  it('refuses to be a second SDK, and can be started again after close', async () => {
    const first = start()
    const error = (() => {
      try {
        return startTelemetry({ service: 'again' })
      } catch (thrown) {
        return thrown
      }
    })()
    expect(TelemetryError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({ code: 'ERR_TELEMETRY_ALREADY_STARTED' })
    await first.close()
    const second = start()
    trace.getTracer('t').startSpan('x').end()
    expect(second.stats().traces.sampled + second.stats().traces.unsampled).toBe(1)
  })

  it.each([
    ['service', { service: '' }],
    ['sampling.ratio', { service: 's', sampling: { ratio: 10 } }],
    ['traces.otlpUrl', { service: 's', traces: { otlpUrl: 'localhost:4318' } }],
    ['shutdownTimeoutMs', { service: 's', shutdownTimeoutMs: -1 }],
    ['samplingRatio ', { service: 's', samplingRatio: 1 }],
  ])('a wrong %s is named', (name, options) => {
    expect(() => startTelemetry(options as never)).toThrow(
      expect.objectContaining({ code: 'ERR_TELEMETRY_OPTION', message: expect.stringContaining(name) }),
    )
  })
})
