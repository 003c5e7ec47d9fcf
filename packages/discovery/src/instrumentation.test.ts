import { AsyncLocalStorage } from 'node:async_hooks'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  type Attributes,
  type Context,
  context,
  type ContextManager,
  type MeterProvider,
  metrics,
  ROOT_CONTEXT,
  type Span,
  type SpanOptions,
  trace,
  type TracerProvider,
} from '@opentelemetry/api'
import { afterEach, expect, it, onTestFinished } from 'vitest'
import { createDiscovery } from './index.ts'
import { staticInstances } from './registries/static.ts'

class Contexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>()
  active = (): Context => this.#storage.getStore() ?? ROOT_CONTEXT
  with: ContextManager['with'] = (active, run, self, ...args) => this.#storage.run(active, () => run.apply(self, args))
  bind = <T>(_: Context, target: T): T => target
  enable = (): this => this
  disable = (): this => this
}

/** The API's side of an SDK. */
function recorder() {
  const spans: { name: string; kind: number | undefined; attributes: Attributes; ended: boolean; id: string }[] = []
  const durations: Attributes[] = []
  const startSpan = (name: string, { kind, attributes = {} }: SpanOptions = {}): Span => {
    const record = { name, kind, attributes: { ...attributes }, ended: false, id: String(spans.length + 1).padStart(16, '0') }
    spans.push(record)
    const span = {
      isRecording: () => true,
      setAttribute: (key: string, value: string) => ((record.attributes[key] = value), span),
      setAttributes: (more: Attributes) => (Object.assign(record.attributes, more), span),
      setStatus: () => span,
      end: () => void (record.ended = true),
      spanContext: () => ({ traceId: 't', spanId: record.id, traceFlags: 1 }),
    }
    return span as unknown as Span
  }
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) } as unknown as TracerProvider)
  context.setGlobalContextManager(new Contexts())
  const meter = {
    createCounter: () => ({ add() {} }),
    createObservableGauge: () => ({ addCallback() {} }),
    createHistogram: (name: string, options: { unit: string }) => ({
      record: (value: number, attributes: Attributes) =>
        void durations.push({ name, unit: options.unit, plausible: value > 0 && value < 30, ...attributes }),
    }),
  }
  metrics.setGlobalMeterProvider({ getMeter: () => meter } as unknown as MeterProvider)
  return { spans, durations }
}

afterEach(() => {
  trace.disable()
  context.disable()
  metrics.disable()
})

it('makes one CLIENT span and one duration per attempt; hooks see that span', async () => {
  let calls = 0
  const sent: unknown[] = []
  const server = createServer((request, response) => {
    sent.push(request.headers['x-span'])
    response.writeHead(calls++ === 0 ? 503 : 200).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const discovery = createDiscovery({ registry: staticInstances({ shop: [`http://127.0.0.1:${port}`] }) })
  onTestFinished(async () => {
    await discovery.close()
    server.close()
  })
  const { spans, durations } = recorder()
  const client = discovery.client('shop', {
    policy: { retry: { maxAttempts: 2, initialDelayMs: 0 } },
    outbound: [(headers) => void (headers['x-span'] = trace.getActiveSpan()?.spanContext().spanId ?? 'none')],
  })
  await client.fetch('/films?email=a')
  const common = { 'http.request.method': 'GET', 'server.address': '127.0.0.1', 'server.port': port }
  const url = `http://127.0.0.1:${port}/films`
  expect(spans.map(({ name, kind, ended }) => ({ name, kind, ended }))).toEqual([1, 2].map(() => ({ name: 'GET', kind: 2, ended: true })))
  expect(spans.map(({ attributes }) => attributes)).toEqual([
    { ...common, 'url.full': url, 'http.response.status_code': 503, 'error.type': '503' },
    { ...common, 'url.full': url, 'http.request.resend_count': 1, 'http.response.status_code': 200 },
  ])
  expect(sent).toEqual(spans.map(({ id }) => id))
  const metric = { name: 'http.client.request.duration', unit: 's', plausible: true, ...common }
  expect(durations).toEqual([
    { ...metric, 'http.response.status_code': 503, 'error.type': '503' },
    { ...metric, 'http.response.status_code': 200 },
  ])
})
