import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { context, SpanStatusCode, trace } from '@opentelemetry/api'
import { afterEach, describe, expect, it } from 'vitest'
import { type CollectedSpan, startCollector } from './collector.fixture.ts'
import { startTelemetry, type Telemetry, type TelemetryOptions, type TelemetryStats } from './index.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

async function exporting(
  sampling: TelemetryOptions['sampling'] = {},
  options: Partial<TelemetryOptions> = {},
): Promise<{ telemetry: Telemetry; spans: CollectedSpan[] }> {
  const collector = await startCollector()
  const telemetry = startTelemetry({
    service: 'orders',
    sampling: { ratio: 0, ...sampling },
    traces: { otlpUrl: collector.url },
    ...options,
  })
  cleanups.push(
    () => collector.close(),
    () => telemetry.close(),
  )
  return { telemetry, spans: collector.spans }
}

const tracer = () => trace.getTracer('t')
const within = (parent: ReturnType<ReturnType<typeof tracer>['startSpan']>) => trace.setSpan(context.active(), parent)
/** What a library does: a span below the active one. */
const query = (name: string, attributes = {}) => tracer().startSpan(name, { attributes }).end()
const failure = new Error('the handler failed')

async function request(telemetry: Telemetry, handle: () => void, fails: boolean): Promise<void> {
  const answered = telemetry.inbound({ method: 'GET', url: '/orders/7?secret=1', headers: {}, route: () => '/orders/:id' }, async () => {
    handle()
    if (fails) throw failure
  })
  await expect(answered.catch((error: unknown) => error)).resolves.toBe(fails ? failure : undefined)
}

describe('three services in a row, none of which sampled the trace', () => {
  async function told<T>(child: ChildProcess): Promise<T> {
    const [message] = (await once(child, 'message')) as [T]
    return message
  }

  async function chain(threshold: string): Promise<{ ask(path: string): Promise<number>; close(): Promise<CollectedSpan[]> }> {
    const collector = await startCollector()
    cleanups.push(() => collector.close())
    const children: ChildProcess[] = []
    let next: string | undefined
    for (const service of ['last', 'middle', 'edge']) {
      const args = [service, collector.url, threshold, ...(next === undefined ? [] : [next])]
      const child = fork(join(import.meta.dirname, 'service.fixture.ts'), args, { execArgv: ['--conditions=@platform/source'] })
      cleanups.push(() => child.kill('SIGKILL'))
      children.push(child)
      next = await told<string>(child)
    }
    return {
      ask: async (path) => (await fetch(next + path, { headers: { connection: 'close' } })).status,
      async close() {
        const stats = children.map((child) => told<TelemetryStats>(child))
        for (const child of children) child.send('close')
        for (const { dropped } of await Promise.all(stats)) expect(dropped).toBe(0)
        return collector.spans
      },
    }
  }

  /** From the edge down, by the parents that the spans name. */
  function pathOf(spans: readonly CollectedSpan[]): string[] {
    const path: string[] = []
    for (let parent: string | undefined; ; ) {
      const below = spans.filter(({ parentSpanId }) => parentSpanId === parent)
      if (below.length !== 1) return path
      path.push(`${String(below[0]!.service)} ${below[0]!.kind === 2 ? 'server' : 'client'}`)
      parent = below[0]!.spanId
    }
  }
  const whole = ['edge server', 'edge client', 'middle server', 'middle client', 'last server']

  it('export the path of a request that failed, each its part, and nothing of one that did not', async () => {
    const { ask, close } = await chain('')
    expect([await ask('/fine'), await ask('/failing'), await ask('/fine')]).toEqual([200, 500, 200])
    const spans = await close()
    expect(pathOf(spans)).toEqual(whole)
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1)
    expect(spans.map(({ attributes, error }) => [attributes['sampling.reason'], error])).toEqual(whole.map(() => ['error', true]))
    const [edge] = spans.filter(({ parentSpanId }) => parentSpanId === undefined)
    expect(edge).toMatchObject({
      name: 'GET /failing',
      attributes: { 'http.response.status_code': 500, 'http.route': '/failing', 'url.path': '/failing', 'http.request.method': 'GET' },
    })
  })

  it('export a failure up to the service that made a success of it', async () => {
    const { ask, close } = await chain('')
    expect(await ask('/recovered')).toBe(200)
    expect((await close()).map(({ service, kind }) => [service, kind])).toEqual([['last', 2]])
  })

  it('export the path of a slow request', async () => {
    const { ask, close } = await chain('50')
    expect(await ask('/slow')).toBe(200)
    const spans = await close()
    expect(pathOf(spans)).toEqual(whole)
    expect(new Set(spans.map(({ attributes }) => attributes['sampling.reason']))).toEqual(new Set(['slow']))
  })
})

describe('an unsampled request that fails', () => {
  it('leaves with all that it did here, also what ends after it, and is counted', async () => {
    const { telemetry, spans } = await exporting()
    let late = tracer().startSpan('replaced')
    await request(
      telemetry,
      () => {
        tracer().startActiveSpan('load', (span) => (query('select'), span.end()))
        late = tracer().startSpan('late')
      },
      true,
    )
    tracer().startSpan('later', {}, within(late)).end()
    late.end()
    await telemetry.close()
    expect(spans.map(({ name }) => name).toSorted()).toEqual(['GET /orders/:id', 'late', 'later', 'load', 'select'])
    expect(JSON.stringify(spans)).not.toContain('secret')
    expect(telemetry.stats()).toMatchObject({ exported: 5, dropped: 0, queued: 0, upgraded: { error: 1, slow: 0 } })
  })

  it('has its exemplar, for there is a trace to find', async () => {
    const { telemetry, spans } = await exporting()
    await request(telemetry, () => {}, true)
    await request(telemetry, () => {}, false)
    const { body } = await telemetry.metrics({ headers: { accept: 'application/openmetrics-text' } })
    await telemetry.close()
    expect(body.match(/trace_id="[0-9a-f]{32}"/g)).toEqual([`trace_id="${spans[0]!.traceId}"`])
    expect(body).toContain('platform_telemetry_upgraded_traces_total{sampling_reason="error"} 1')
  })

  it('shows no secret of a span that waited', async () => {
    const redactor = { text: (text: string) => text.replaceAll('hunter2', '***'), isSecretName: (name: string) => name === 'password' }
    const { telemetry, spans } = await exporting({}, { redactor })
    await request(telemetry, () => query('login hunter2', { password: 'x', url: '/?q=hunter2' }), true)
    await telemetry.close()
    expect(spans).toHaveLength(2)
    expect(JSON.stringify(spans)).not.toMatch(/hunter2|"x"/)
  })

  it('stays unsampled for those below, which decide by what they see', async () => {
    const { telemetry } = await exporting()
    const outgoing: Record<string, string> = {}
    await request(telemetry, () => telemetry.outbound(outgoing), true)
    expect(outgoing['traceparent']).toMatch(/-00$/)
  })
})

it('a message whose handling fails is upgraded as well, below the span of its publisher', async () => {
  const { telemetry, spans } = await exporting()
  const headers = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' }
  telemetry.inbound({ method: 'PROCESS', url: 'orders.placed', headers }, () => {
    const span = tracer().startSpan('process orders.placed')
    context.with(within(span), () => query('insert'))
    span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  })
  await telemetry.close()
  expect(spans.map(({ name, traceId }) => [name, traceId])).toEqual(
    ['insert', 'process orders.placed'].map((name) => [name, '0af7651916cd43dd8448eb211c80319c']),
  )
  expect(spans[1]).toMatchObject({ parentSpanId: 'b7ad6b7169203331', attributes: { 'sampling.reason': 'error' } })
})

describe('unsampled requests that are fine', () => {
  it('leave nothing, and record nothing any more once they have ended', async () => {
    const { telemetry, spans } = await exporting()
    let root = trace.wrapSpanContext({ traceId: '', spanId: '', traceFlags: 0 })
    await request(telemetry, () => (query('select'), (root = trace.getActiveSpan()!)), false)
    expect(tracer().startSpan('late', {}, within(root)).isRecording()).toBe(false)
    await telemetry.close()
    expect([spans, telemetry.stats().dropped]).toEqual([[], 0])
  })

  it.each([
    ['switched off', { errors: false }, true],
    ['without a collector', {}, false],
  ])('and those that fail have ids and no more, where it is %s', async (_, sampling, hasCollector) => {
    const { telemetry, spans } = await exporting(sampling, hasCollector ? {} : { traces: undefined, env: {} })
    await request(telemetry, () => expect(trace.getActiveSpan()?.isRecording()).toBe(false), true)
    await telemetry.close()
    expect(spans).toEqual([])
  })
})

describe('what waits is bounded', () => {
  it('in one trace: the latest spans are kept, the others counted as dropped', async () => {
    const { telemetry, spans } = await exporting()
    await request(
      telemetry,
      () => {
        for (let index = 0; index < 1_000; index++) query(`select ${index}`)
      },
      true,
    )
    await telemetry.close()
    expect(spans).toHaveLength(129)
    expect(spans.map(({ name }) => name)).toEqual(expect.arrayContaining(['select 999', 'select 872', 'GET /orders/:id']))
    expect(telemetry.stats()).toMatchObject({ exported: 129, dropped: 872 })
  })

  it.each([
    ['count', 300, 100, ''],
    ['bytes', 30, 10, 'x'.repeat(100_000)],
  ])('in all of them by %s: the oldest, which may never end, give theirs up', async (_, traces, each, text) => {
    const { telemetry, spans } = await exporting()
    const roots = Array.from({ length: traces }, (_unused, index) => tracer().startSpan(`root ${index}`))
    for (const root of roots) {
      context.with(within(root), () => {
        for (let index = 0; index < each; index++) query('work', { text })
      })
    }
    for (const root of [roots[0]!, roots.at(-1)!]) root.setStatus({ code: SpanStatusCode.ERROR }).end()
    await telemetry.close()
    expect(spans.map(({ name }) => name)).toEqual(['root 0', ...Array.from({ length: each }, () => 'work'), `root ${traces - 1}`])
    expect(telemetry.stats()).toMatchObject({ exported: each + 2, dropped: each })
  })

  it('while everything fails, half of the queue is left to what was sampled', async () => {
    const { telemetry } = await exporting()
    // Within one tick: nothing is sent meanwhile.
    for (let index = 0; index < 10_000; index++) tracer().startSpan('job').setStatus({ code: SpanStatusCode.ERROR }).end()
    expect(telemetry.stats()).toMatchObject({ upgraded: { error: 10_000 }, queued: 2_048, dropped: 7_952 })
    const sampled = trace.wrapSpanContext({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1 })
    for (let index = 0; index < 2_000; index++) tracer().startSpan('sampled', {}, within(sampled)).end()
    expect(telemetry.stats()).toMatchObject({ queued: 4_048, dropped: 7_952 })
  })
})
