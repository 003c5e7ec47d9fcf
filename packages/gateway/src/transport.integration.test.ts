import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@platform/stack'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { writeCertificate } from './certificate.fixture.ts'
import { echoService, nginxPrograms, type Run, runGateway, settableDiscovery } from './gateway-run.fixture.ts'

/** Takes upgrades and gives back what comes; tells events when it is told to; says what came of a body so far. */
async function liveService() {
  const listeners = new Set<ServerResponse>()
  const upgraded: Socket[] = []
  const silent: IncomingMessage[] = []
  let received = 0
  const server = createServer((incoming, response) => {
    if (incoming.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      listeners.add(response)
      response.write('data: welcome\n\n')
      return
    }
    if (incoming.url === '/silent' || incoming.url === '/patient') {
      silent.push(incoming)
      return
    }
    incoming.on('data', (part: Buffer) => (received += part.length))
    incoming.once('end', () => response.end(incoming.headers.upgrade ?? 'no upgrade'))
  })
  server.on('upgrade', (_request, socket: Socket) => {
    upgraded.push(socket)
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
    socket.on('error', () => {}).pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    received: () => received,
    /** Requests that are never answered, and whether somebody still waits for them. */
    silent: () => silent.map((incoming) => (incoming.destroyed ? 'let go' : 'waited for')),
    tell: (text: string) => listeners.forEach((each) => each.write(`data: ${text}\n\n`)),
    close() {
      for (const socket of upgraded) socket.destroy()
      server.closeAllConnections()
      server.close()
    },
  }
}

const routes = (more: string) => `
listeners: [{{listen}}${more}]
services: { live: {} }
routes:
  - { name: socket, matches: [{ path: { value: /socket } }], auth: public, backendRefs: [{ name: live }], webSocket: true }
  - { name: plain, matches: [{ path: { value: /plain } }], auth: public, backendRefs: [{ name: live }] }
  - { name: events, matches: [{ path: { value: /events } }], auth: public, backendRefs: [{ name: live }], streaming: true }
  - name: silent
    matches: [{ path: { value: /silent } }]
    auth: public
    backendRefs: [{ name: live }]
    timeouts: { backendRequestMs: 200 }
    retry: { maxAttempts: 1 }
  - { name: patient, matches: [{ path: { value: /patient } }], auth: public, backendRefs: [{ name: live }] }
  - { name: upload, matches: [{ path: { value: /upload } }], auth: public, backendRefs: [{ name: live }], streaming: true }
`

function upgrade(port: number, path: string): Promise<{ socket: Socket } | { status: number }> {
  return new Promise((resolve, reject) => {
    request({ port, path, agent: false, headers: { connection: 'Upgrade', upgrade: 'websocket' } })
      .once('upgrade', (_response, socket) => resolve({ socket }))
      .once('response', (response) => resolve({ status: response.statusCode ?? 0 }))
      .once('error', reject)
      .end()
  })
}

describe.each([
  ['the newest nginx', { nginx: nginxPrograms.newest }],
  ['an older nginx', { nginx: nginxPrograms.older, endpoints: 'reload' as const }],
])('what lasts, on %s', (_name, options) => {
  let live: Awaited<ReturnType<typeof liveService>>
  let run: Run
  beforeAll(async () => {
    live = await liveService()
    run = await runGateway(routes(''), { discovery: settableDiscovery({ live: [live.port] }), ...options })
    await vi.waitUntil(async () => (await fetch(`${run.url}/plain`)).status === 200, { timeout: 20_000 })
  }, 60_000)
  afterAll(async () => {
    await run?.[Symbol.asyncDispose]()
    live?.close()
  })

  it('passes upgrades where the route says so, and keeps them over a change of the file', { timeout: 30_000 }, async () => {
    expect(await upgrade(run.port, '/plain')).toEqual({ status: 200 })
    const { socket } = (await upgrade(run.port, '/socket')) as { socket: Socket }
    const echoed = async (text: string) => {
      socket.write(text)
      return String((await once(socket, 'data'))[0])
    }
    expect(await echoed('before')).toBe('before')
    await run.gateway.apply()
    expect(await echoed('after')).toBe('after')
    socket.destroy()
  })

  it('passes events on as they come, over a change of the file as well', { timeout: 30_000 }, async () => {
    const { body } = await fetch(`${run.url}/events`)
    const reader = body!.pipeThrough(new TextDecoderStream()).getReader()
    expect((await reader.read()).value).toBe('data: welcome\n\n')
    live.tell('before')
    expect((await reader.read()).value).toBe('data: before\n\n')
    await run.gateway.apply()
    live.tell('after')
    expect((await reader.read()).value).toBe('data: after\n\n')
    await reader.cancel()
  })

  it('gives up a service that is silent for too long, and lets go of one whose client has gone', { timeout: 30_000 }, async () => {
    const late = await fetch(`${run.url}/silent`)
    expect([late.status, late.headers.get('content-type')]).toEqual([504, 'application/problem+json'])
    const leaving = new AbortController()
    const left = fetch(`${run.url}/patient`, leaving).catch((error: Error) => error.name)
    await expect.poll(() => live.silent(), { timeout: 10_000 }).toEqual(['let go', 'waited for'])
    leaving.abort()
    expect(await left).toBe('AbortError')
    await expect.poll(() => live.silent(), { timeout: 10_000 }).toEqual(['let go', 'let go'])
  })

  it('passes an upload on while it is sent', { timeout: 30_000 }, async () => {
    const before = live.received()
    const outgoing = request({ port: run.port, path: '/upload', method: 'POST', agent: false, headers: { 'transfer-encoding': 'chunked' } })
    const answered = once(outgoing, 'response')
    outgoing.write(Buffer.alloc(100_000))
    await expect.poll(() => live.received() - before, { timeout: 10_000 }).toBe(100_000)
    outgoing.end(Buffer.alloc(50_000))
    const [response] = (await answered) as [IncomingMessage]
    expect(response.statusCode).toBe(200)
    expect(live.received() - before).toBe(150_000)
    response.resume()
  })
})

describe.each([
  ['the newest nginx', { nginx: nginxPrograms.newest }],
  ['an older nginx', { nginx: nginxPrograms.older, endpoints: 'reload' as const }],
])('TLS on %s', (_name, options) => {
  it('serves HTTP/1.1 and HTTP/2, and leads there from the plain port', { timeout: 60_000 }, async () => {
    const place = mkdtempSync(join(tmpdir(), 'platform-certificates-'))
    const files = { certificateFile: join(place, 'cert.pem'), keyFile: join(place, 'key.pem') }
    writeCertificate('first', files)
    const [securePort, plainPort] = [await freePort(), await freePort()]
    await using service = await echoService('live')
    const secure = `, { port: ${securePort}, address: 127.0.0.1, tls: ${JSON.stringify(files)} }`
    const plain = `, { port: ${plainPort}, address: 127.0.0.1, redirectToPort: ${securePort} }`
    await using run = await runGateway(routes(secure + plain), { discovery: settableDiscovery({ live: [service.port] }), ...options })
    await vi.waitUntil(async () => (await fetch(`${run.url}/plain`)).status === 200, { timeout: 20_000 })
    const led = await fetch(`http://127.0.0.1:${plainPort}/plain/a%20b?c=d`, { redirect: 'manual' })
    expect([led.status, led.headers.get('location')]).toEqual([308, `https://127.0.0.1:${securePort}/plain/a%20b?c=d`])
    const session = connectHttp2(`https://127.0.0.1:${securePort}`, { rejectUnauthorized: false })
    const stream = async (path: string) => {
      const asked = session.request({ ':path': path, 'x-forwarded-proto': 'http' })
      const [headers] = (await once(asked, 'response')) as [Record<string, unknown>]
      let text = ''
      for await (const part of asked.setEncoding('utf8')) text += String(part)
      return { status: headers[':status'], seen: JSON.parse(text) as { headers: Record<string, string> } }
    }
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => stream(`/plain/${n}`)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(answers[0]!.seen.headers).toMatchObject({ 'x-forwarded-proto': 'https', 'x-forwarded-port': String(securePort) })
    const refused = session.request({ ':path': '/plain/%2e%2e/x' })
    expect(((await once(refused, 'response')) as [Record<string, unknown>])[0][':status']).toBe(400)
    refused.close()
    session.close()
    rmSync(place, { recursive: true })
  })
})
