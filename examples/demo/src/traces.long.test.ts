import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { builtCode } from './services.ts'
import { openStore } from './store.ts'

interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly service: string
}

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

const way = [
  'orders-api: POST /orders',
  'orders-api: GET',
  'catalog-api: GET /films/:id',
  'orders-api: publish orders.placed.v1',
  'fulfilment-worker: process orders.placed.v1',
  'fulfilment-worker: publish orders.fulfilled.v1',
  'orders-api: process orders.fulfilled.v1',
  'fulfilment-worker: publish stock.changed.v1',
  'catalog-api: process stock.changed.v1',
]

/** Keeps the spans that services send as OTLP in JSON. */
async function collector(): Promise<{ url: string; spans: Span[] }> {
  const spans: Span[] = []
  const keep = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { resourceSpans = [] } = JSON.parse(String(Buffer.concat(chunks)))
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = resource.attributes.find(({ key }: { key: string }) => key === 'service.name').value.stringValue
      for (const { spans: sent } of scopeSpans) spans.push(...sent.map((span: Span) => ({ ...span, service })))
    }
    response.end('{}')
  }
  const server = createServer((request, response) => void keep(request, response)).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  cleanups.push(() => new Promise((resolve) => server.closeAllConnections() ?? server.close(resolve)))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans }
}

describe.each(['embedded', 'native'] as const)('one trace (%s)', (mode) => {
  it('from the shopper through orders, the catalog, the outbox, the broker, the worker, and back', async () => {
    const { url, spans } = await collector()
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = url
    cleanups.push(async () => delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT'])
    const store = await openStore({ mode, launcher: builtCode, onProgress: () => {} })
    cleanups.push(() => Promise.resolve(store[Symbol.asyncDispose]()))
    const traceId = randomBytes(16).toString('hex')
    const shopper = randomBytes(8).toString('hex')
    const placed = await fetch(`${store.ordersUrls[0]}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': traceId, traceparent: `00-${traceId}-${shopper}-01` },
      body: JSON.stringify({ filmId: 1, quantity: 1 }),
    })
    expect(placed.status).toBe(201)
    const mine = () => spans.filter((span) => span.traceId === traceId)
    const steps = () => new Set(mine().map(({ service, name }) => `${service}: ${name}`))
    await expect.poll(() => way.filter((step) => !steps().has(step)), { timeout: 60_000 }).toEqual([])
    // Whole: every span hangs on another one, up to the shopper's.
    const ids = new Set(mine().map(({ spanId }) => spanId))
    expect(mine().filter(({ parentSpanId }) => parentSpanId !== shopper && !ids.has(parentSpanId ?? ''))).toEqual([])
    // Ended: what goes on in the background is no part of it. Several polls and flushes long.
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    const before = mine().length
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    expect(mine()).toHaveLength(before)
  }, 180_000)
})
