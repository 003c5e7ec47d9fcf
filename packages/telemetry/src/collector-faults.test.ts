import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { afterEach, expect, it, vi } from 'vitest'
import { startBlackHole } from './collector.fixture.ts'
import { startTelemetry } from './index.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

interface Collector {
  readonly url: string
  /** Spans in requests that were answered with 200. */
  readonly taken: () => number
}

async function collector(answer: (response: ServerResponse, request: number) => void): Promise<Collector> {
  let taken = 0
  let requests = 0
  const listener: RequestListener = (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => (body += text))
    request.on('end', () => {
      response.on('finish', () => {
        if (response.statusCode === 200) taken += body.split('"spanId"').length - 1
      })
      answer(response, requests++)
    })
  }
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => (server.close(), server.closeAllConnections()))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, taken: () => taken }
}

async function refused(): Promise<Collector> {
  const server = createTcpServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return { url: `http://127.0.0.1:${port}`, taken: () => 0 }
}

async function blackHole(): Promise<Collector> {
  const hole = await startBlackHole()
  cleanups.push(() => hole.close())
  return { url: hole.url, taken: () => 0 }
}

const faults: Record<string, () => Promise<Collector>> = {
  'refuses connections': refused,
  'is a black hole': blackHole,
  'answers 429': () => collector((response) => response.writeHead(429, { 'retry-after': '1' }).end()),
  'answers 500': () => collector((response) => response.writeHead(500).end()),
  'is slow': () => collector((response) => void setTimeout(() => response.end('{}'), 300)),
  // A proxy that ends its side after each second answer, and in place of each third.
  'closes its half of connections': () =>
    collector((response, request) => {
      if (request % 3 === 2) response.socket!.end()
      else response.end('{}', () => request % 3 === 1 && response.socket!.end())
    }),
  'ends in the middle of its answers': () =>
    collector((response, request) => {
      if (request % 2 === 1) return void response.end('{}')
      response.writeHead(200, { 'content-length': 100 }).write('{')
      setTimeout(() => response.socket!.end(), 5)
    }),
  'cuts connections in its answers': () =>
    collector((response, request) => {
      if (request % 2 === 1) return void response.end('{}')
      response.writeHead(200, { 'content-length': 100 }).write('{')
      setTimeout(() => response.socket!.resetAndDestroy(), 5)
    }),
}

const requests = 3_000

async function served(
  url: string,
  isPatient = false,
): Promise<{ medianMs: number; exported: number; dropped: number; queued: number; closedMs: number }> {
  const telemetry = startTelemetry({ service: 's', sampling: { ratio: 1 }, traces: { otlpUrl: url }, env: {}, shutdownTimeoutMs: 2_000 })
  const times: number[] = []
  for (let index = 0; index < requests; index++) {
    const from = performance.now()
    await telemetry.inbound({ method: 'GET', url: '/', headers: {} }, () => new Promise(setImmediate))
    times.push(performance.now() - from)
  }
  if (isPatient) await vi.waitUntil(() => telemetry.stats().queued === 0, 20_000)
  const from = performance.now()
  await telemetry.close()
  const { exported, dropped, queued } = telemetry.stats()
  return { medianMs: times.toSorted((a, b) => a - b)[requests / 2]!, exported, dropped, queued, closedMs: performance.now() - from }
}

it.each(Object.keys(faults))('a collector that %s delays no request, and each span is accounted for', async (fault) => {
  const { url, taken } = await faults[fault]!()
  const { medianMs, exported, dropped, queued, closedMs } = await served(url)
  expect({ sum: exported + dropped, queued }).toEqual({ sum: requests, queued: 0 })
  expect(exported).toBeLessThanOrEqual(taken())
  // What takes a fraction of a millisecond would take seconds if anything of it were waited for.
  expect(medianMs).toBeLessThan(50)
  expect(closedMs).toBeLessThan(10_000)
})

it.each(['closes its half of connections', 'cuts connections in its answers'])(
  'a collector that %s has everything in the end',
  async (fault) => {
    const { url } = await faults[fault]!()
    expect(await served(url, true)).toMatchObject({ exported: requests, dropped: 0 })
  },
)
