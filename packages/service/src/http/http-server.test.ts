import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { Agent, createServer, request as httpRequest, type Server } from 'node:http'
import { connect as http2Connect, createServer as createHttp2Server } from 'node:http2'
import { connect } from 'node:net'
import express from 'express'
import fastify from 'fastify'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { expressInbound, fastifyInbound, type HttpServer, httpServer, type InboundHook, type InboundRequest } from './index.ts'

const context = new AsyncLocalStorage<string>()
const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((clean) => clean()))
})

interface Seen {
  request: InboundRequest
  route?: string | undefined
  status?: number
  closedIn?: string | undefined
}
/** Two hooks: the outer one sets the context, the inner one proves that it is inside. */
function hooks(): { list: InboundHook[]; seen: Seen[]; order: (string | undefined)[] } {
  const seen: Seen[] = []
  const order: (string | undefined)[] = []
  const outer: InboundHook = (request, run) => context.run(`${request.method} ${request.url}`, run)
  const inner: InboundHook = (request, run) => {
    const entry: Seen = { request }
    seen.push(entry)
    order.push(context.getStore())
    request.response.once('close', () => {
      entry.route = request.route()
      entry.status = request.response.statusCode
      entry.closedIn = context.getStore()
    })
    return run()
  }
  return { list: [outer, inner], seen, order }
}

type App = { server: Server; inbound: InboundHook[]; template: string | undefined; close?: () => Promise<unknown> }
/** POST /films/7 answers with the context that its handler sees after the body was read. */
const apps: Record<string, (list: InboundHook[]) => Promise<App>> = {
  'node:http': async (list) => ({
    server: createServer((request, response) => {
      let body = ''
      request.on('data', (chunk) => (body += chunk))
      request.on('end', () => response.end(JSON.stringify({ context: context.getStore(), body })))
    }),
    inbound: list,
    template: undefined,
  }),
  Fastify: async (list) => {
    const app = fastify()
    app.register(fastifyInbound([]))
    app.post('/films/:id', async (request) => ({ context: context.getStore(), body: JSON.stringify(request.body) }))
    await app.ready()
    return { server: app.server, inbound: list, template: '/films/:id', close: () => app.close() }
  },
  'Fastify, hooks as a plugin': async (list) => {
    const app = fastify()
    app.register(fastifyInbound(list))
    app.post('/films/:id', async (request) => ({ context: context.getStore(), body: JSON.stringify(request.body) }))
    await app.ready()
    return { server: app.server, inbound: [], template: '/films/:id', close: () => app.close() }
  },
  Express: async (list) => {
    const films = express.Router()
    films.post('/:id', (request, response) => void response.json({ context: context.getStore(), body: JSON.stringify(request.body) }))
    const app = express()
    app.use(express.json())
    app.use('/films', films)
    return { server: createServer(app), inbound: list, template: '/films/:id' }
  },
  'Express, hooks as middleware': async (list) => {
    const app = express()
    app.use(expressInbound(list))
    app.use(express.json())
    app.post('/films/:id', (request, response) => void response.json({ context: context.getStore(), body: JSON.stringify(request.body) }))
    return { server: createServer(app), inbound: [], template: '/films/:id' }
  },
}

async function up(
  server: Server,
  options: Partial<Parameters<typeof httpServer>[1]> = {},
  close?: () => Promise<unknown>,
): Promise<{ http: HttpServer; url: string }> {
  const http = httpServer(server, { port: 0, host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 50, ...options })
  cleanups.push(async () => {
    await http.close({ timeoutMs: 0 })
    await close?.()
  })
  await http.ready()
  return { http, url: `http://127.0.0.1:${http.port}` }
}

describe.each(Object.entries(apps))('%s', (_name, make) => {
  it('runs every request inside the hooks, body and end included, and tells the route', async () => {
    const { list, seen, order } = hooks()
    const app = await make(list)
    const { url } = await up(app.server, { inbound: app.inbound }, app.close)
    const post = async (path: string) =>
      fetch(url + path, { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } })
    const first = await post('/films/7?x=1')
    expect(await first.json()).toEqual({ context: 'POST /films/7?x=1', body: '{"a":1}' })
    expect(order).toEqual(['POST /films/7?x=1'])
    await until(() => expect(seen[0]).toMatchObject({ route: app.template, status: 200, closedIn: 'POST /films/7?x=1' }))
    expect(seen[0]?.request).toMatchObject({ method: 'POST', url: '/films/7?x=1', headers: { 'content-type': 'application/json' } })
    if (app.template === undefined) return
    const missing = await post('/none')
    expect(missing.status).toBe(404)
    await until(() => expect(seen[1]).toMatchObject({ status: 404 }))
    expect(seen[1]?.route).toBeUndefined()
  })

  it('answers everything while it drains, asks clients to leave, and then refuses', async () => {
    const app = await make([])
    const { http, url } = await up(app.server, { quietWindowMs: 150 }, app.close)
    const agent = new Agent({ keepAlive: true })
    const post = () =>
      new Promise<{ status: number | undefined; connection: string | undefined }>((resolve, reject) => {
        const sent = httpRequest(
          `${url}/films/1`,
          { method: 'POST', agent, headers: { 'content-type': 'application/json' } },
          (response) => {
            response.resume().on('end', () => resolve({ status: response.statusCode, connection: response.headers.connection }))
          },
        )
        sent.on('error', reject)
        sent.end('{}')
      })
    expect((await post()).connection).toBe('keep-alive')
    http.quiesce?.()
    const draining = http.drain()
    expect(await post()).toEqual({ status: 200, connection: 'close' })
    expect(await post()).toEqual({ status: 200, connection: 'close' })
    expect(http.stats()).toMatchObject({ requests: 3, requestsAfterQuiesce: 2 })
    await draining
    await expect(post()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await http.close()
    expect(http.stats().connections).toBe(0)
    agent.destroy()
  })
})

describe('drain and close', () => {
  /** Answers /slow when told to. */
  function slowServer() {
    let answer = () => {}
    const server = createServer((request, response) => {
      if (request.url === '/slow') answer = () => response.end('x'.repeat(200_000))
      else response.end('ok')
    })
    return { server, answer: () => answer() }
  }

  it('waits for a request in flight and delivers its whole answer', async () => {
    const { server, answer } = slowServer()
    const { http, url } = await up(server)
    const slow = fetch(`${url}/slow`)
    await until(() => expect(http.stats().inFlight).toBe(1))
    http.quiesce()
    const drained = http.drain()
    await until(() => expect(server.listening).toBe(false))
    answer()
    expect((await (await slow).text()).length).toBe(200_000)
    await drained
    await http.close()
  })

  it('gives up a drain at its signal and cuts at the close timeout', async () => {
    const { server } = slowServer()
    const { http, url } = await up(server)
    const slow = fetch(`${url}/slow`).catch((error: unknown) => error)
    await until(() => expect(http.stats().inFlight).toBe(1))
    const reason = new Error('late')
    const controller = new AbortController()
    const drained = http.drain({ signal: controller.signal })
    controller.abort(reason)
    await expect(drained).rejects.toBe(reason)
    const closing = http.close({ timeoutMs: 50 })
    expect(http.close()).toBe(closing)
    await closing
    expect(await slow).toBeInstanceOf(TypeError)
    expect(http.stats()).toMatchObject({ inFlight: 0, connections: 0 })
  })

  it('reaps a keep-alive connection that was busy when the listener closed', async () => {
    const { server, answer } = slowServer()
    const { http } = await up(server)
    const socket = connect(http.port, '127.0.0.1')
    await once(socket, 'connect')
    // Headers are out before the stop, so no `Connection: close` can tell this client.
    server.prependListener('request', (_request, response) => response.writeHead(200).write('first'))
    socket.write('GET /slow HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(socket, 'data')
    const ended = once(socket, 'close')
    socket.resume()
    const drained = http.drain()
    await until(() => expect(server.listening).toBe(false))
    answer()
    await drained
    await http.close()
    await ended
  })

  it('does not wait longer than maxQuietWaitMs for a client that never stops', async () => {
    const { server } = slowServer()
    const { http, url } = await up(server, { quietWindowMs: 60_000, maxQuietWaitMs: 100 })
    expect((await fetch(url)).status).toBe(200)
    await http.drain()
    expect(server.listening).toBe(false)
  })

  it('answers 500 when a hook fails, and goes on', async () => {
    let broken = true
    const errors: object[] = []
    const logger = { debug() {}, info() {}, warn() {}, error: (fields: object) => void errors.push(fields) }
    const hook: InboundHook = (_request, run) => {
      if (broken) throw new Error('hook')
      return run()
    }
    const { url } = await up(slowServer().server, { inbound: [hook], logger })
    expect((await fetch(url)).status).toBe(500)
    expect(errors).toHaveLength(1)
    broken = false
    expect((await fetch(url)).status).toBe(200)
  })

  it('leaves the server as it was', async () => {
    const { server } = slowServer()
    const { http } = await up(server, { inbound: hooks().list })
    expect(Object.hasOwn(server, 'emit')).toBe(true)
    await http.close()
    expect(Object.hasOwn(server, 'emit')).toBe(false)
    await expect(http.ready()).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' })
  })

  it('sends GOAWAY on HTTP/2, finishes the stream, runs hooks', async () => {
    let answer = () => {}
    const server = createHttp2Server((_request, response) => {
      const inside = context.getStore()
      answer = () => response.end(inside ?? '')
    })
    const { http, url } = await up(server as never, { inbound: hooks().list })
    const client = http2Connect(url)
    const stream = client.request({ ':path': '/slow' })
    let body = ''
    stream.setEncoding('utf8').on('data', (chunk) => (body += chunk))
    await until(() => expect(http.stats().inFlight).toBe(1))
    const away = once(client, 'goaway')
    const drained = http.drain()
    await away
    const late = http2Connect(url)
    const lateStream = late.request({ ':path': '/late' })
    const inTime = answer
    await until(() => expect(http.stats()).toMatchObject({ inFlight: 2, requestsAfterQuiesce: 1 }))
    answer()
    lateStream.resume()
    await once(lateStream, 'end')
    await until(() => expect(late.closed || late.destroyed).toBe(true))
    answer = inTime
    answer()
    await once(stream, 'end')
    expect(body).toBe('GET /slow')
    await drained
    await http.close()
    client.destroy()
  })
})

describe('ready', () => {
  it('names a taken port, and can be given up', async () => {
    const { http } = await up(createServer())
    const second = httpServer(createServer(), { port: http.port, host: '127.0.0.1' })
    await expect(second.ready()).rejects.toMatchObject({ code: 'ERR_SERVICE_PORT_TAKEN', port: http.port })
    const reason = new Error('enough')
    await expect(second.ready({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    await second.close()
  })

  it.each([
    ['port', { port: -1 }],
    ['quietWindowMs', { port: 0, quietWindowMs: -1 }],
    ['inbound', { port: 0, inbound: ['x'] }],
    ['drainMs ', { port: 0, drainMs: 5 }],
  ])('a wrong %s is named', (name, options) => {
    expect(() => httpServer(createServer(), options as never)).toThrow(expect.objectContaining({ message: expect.stringContaining(name) }))
  })
})
