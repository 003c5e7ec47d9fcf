import { once } from 'node:events'
import { type Agent, createServer, request as httpRequest, type RequestListener, type Server } from 'node:http'
import { connect as http2Connect, createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createService } from '../index.ts'
import { eventLoopLoad, type HttpServer, type HttpServerOptions, httpServer } from './index.ts'

const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((clean) => clean()))
})

async function up(server: Server | RequestListener, options: Partial<HttpServerOptions> = {}): Promise<HttpServer> {
  const made = typeof server === 'function' ? createServer(server) : server
  const http = httpServer(made, { port: 0, host: '127.0.0.1', minDrainMs: 200, quietWindowMs: 20, ...options })
  cleanups.push(() => http.close({ timeoutMs: 0 }))
  await http.ready()
  return http
}

/** A balancer's new connection: a status or what went wrong. */
function ask(http: HttpServer, path = '/', agent: Agent | false = false): Promise<string> {
  return new Promise((resolve) => {
    const outgoing = httpRequest({ port: http.port, host: '127.0.0.1', path, agent }, (response) => {
      response.resume().on('end', () => resolve(String(response.statusCode)))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'failed')).end()
  })
}

async function raw(http: HttpServer, text: string): Promise<{ socket: Socket; seen: () => Buffer }> {
  const socket = connect(http.port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (data) => chunks.push(data)).on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  cleanups.push(async () => socket.destroy())
  return { socket, seen: () => Buffer.concat(chunks) }
}

describe('the listener', () => {
  it('stays open for minDrainMs however little comes, then until it is quiet', async () => {
    const http = await up((_request, response) => response.end('ok'), { minDrainMs: 600, quietWindowMs: 50 })
    const from = performance.now()
    const drained = http.drain()
    // One request in the time of many quiet windows.
    await delay(300)
    expect(await ask(http)).toBe('200')
    await drained
    expect(performance.now() - from).toBeGreaterThanOrEqual(590)
    expect(await ask(http)).toBe('ECONNREFUSED')
  })

  it('that is never quiet closes after maxQuietWaitMs more', async () => {
    const http = await up((_request, response) => response.end('ok'), { minDrainMs: 100, quietWindowMs: 200, maxQuietWaitMs: 300 })
    const answers: string[] = []
    let stop = false
    const load = (async () => {
      while (!stop) {
        answers.push(await ask(http))
        await delay(20)
      }
    })()
    await http.drain()
    stop = true
    await load
    expect(answers.length).toBeGreaterThan(3)
    expect(answers.slice(0, 3)).toEqual(['200', '200', '200'])
  })

  it('leaves a third of a short drain to the answers under way', async () => {
    const http = await up((_request, response) => response.end('ok'), { minDrainMs: 60_000 })
    const from = performance.now()
    await http.drain({ timeoutMs: 600 })
    expect(performance.now() - from).toBeLessThan(5_000)
  })

  it('a service whose grace period is too short for it says so at the start', async () => {
    const lines: object[] = []
    const http = httpServer(createServer(), { port: 0, host: '127.0.0.1', minDrainMs: 9_000 })
    const warn = (fields: object) => void lines.push(fields)
    const service = createService({
      name: 's',
      gracePeriodMs: 10_000,
      components: { http },
      logger: { debug() {}, info() {}, warn, error() {} },
    })
    await service.start()
    expect(lines).toMatchObject([{ component: 'http', minDrainMs: 9_000, gracePeriodMs: 10_000 }])
    await service.stopFast('test')
  })
})

describe('HTTP/1 connections', () => {
  it('pipelined requests are answered, or not handled', async () => {
    const handled: string[] = []
    let release = () => {}
    const http = await up((request, response) => {
      handled.push(request.url ?? '')
      if (request.url === '/slow') release = () => response.end('done')
      else response.end('done')
    })
    const drained = http.drain()
    const get = (...paths: string[]) => paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join('')
    const quick = await raw(http, get('/a', '/b'))
    const slow = await raw(http, get('/slow', '/c'))
    await until(() => expect(handled).toContain('/c'))
    release()
    await until(() => expect(http.stats().inFlight).toBe(0))
    await drained
    const answers = [quick, slow].map(({ seen }) => seen().toString().split('HTTP/1.1 200').length - 1)
    expect(answers[0]).toBe(handled.filter((path) => path === '/a' || path === '/b').length)
    expect(answers[1]).toBe(2)
    expect(slow.seen().toString().split('onnection: close').length - 1).toBe(1)
  })

  it('an upload under way is taken to its end', async () => {
    let body = ''
    const http = await up((request, response) => {
      request.on('data', (chunk) => (body += chunk)).on('end', () => response.end('got it'))
    })
    const { socket, seen } = await raw(http, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345')
    await until(() => expect(http.stats().inFlight).toBe(1))
    const drained = http.drain()
    await until(async () => expect(await ask(http)).toBe('ECONNREFUSED'))
    socket.write('67890')
    await drained
    await until(() => expect(seen().toString()).toContain('got it'))
    expect(body).toBe('1234567890')
  })
})

describe('long answers', () => {
  it.each(['writeHead', 'setHeader'])(
    'an event stream (%s) ends cleanly when the listener closes, and its handler may go on writing',
    async (way) => {
      const http = await up((_request, response) => {
        if (way === 'setHeader') response.setHeader('Content-Type', 'text/event-stream; charset=utf-8')
        else response.writeHead(200, { 'Content-Type': 'text/event-stream' })
        const beat = setInterval(() => response.write('data: x\n\n'), 5)
        // Much later than the end.
        response.on('close', () => setTimeout(() => clearInterval(beat), 100))
      })
      const ended = new Promise<string>((resolve) => {
        httpRequest({ port: http.port, host: '127.0.0.1' }, (response) => {
          response
            .resume()
            .on('end', () => resolve('end'))
            .on('error', (error) => resolve(error.message))
        }).end()
      })
      await until(() => expect(http.stats().inFlight).toBe(1))
      await http.drain({ timeoutMs: 60_000 })
      expect(await ended).toBe('end')
      expect(http.leaving.aborted).toBe(true)
    },
  )

  it('others hear of it by `leaving`', async () => {
    const http: HttpServer = await up((_request, response) => {
      http.leaving.addEventListener('abort', () => response.end('nothing new'))
    })
    const poll = ask(http)
    await until(() => expect(http.stats().inFlight).toBe(1))
    await http.drain()
    expect(await poll).toBe('200')
  })
})

describe('WebSockets', () => {
  const upgrade = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n'

  it('are told to go (1001) when the listener closes; one that is not answered yet is not spoken to', async () => {
    const server = createServer()
    server.on('upgrade', (request, socket) => {
      socket.on('data', () => socket.end())
      if (request.url !== '/slow') socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
    })
    const http = await up(server, { minDrainMs: 0 })
    const open = await raw(http, upgrade)
    const slow = await raw(http, upgrade.replace('GET /', 'GET /slow'))
    await until(() => expect(open.seen().toString()).toContain('101'))
    const drained = http.drain()
    await until(() => expect(open.seen().subarray(-4)).toEqual(Buffer.from([0x88, 0x02, 0x03, 0xe9])))
    // The client answers with the same code, masked with zeros.
    open.socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]))
    await once(open.socket, 'close')
    await drained
    expect(slow.seen()).toHaveLength(0)
    await http.close()
    expect(http.stats().connections).toBe(0)
  })
})

describe('a WebSocket that is answered late', () => {
  it('is told to go when it is open at last', async () => {
    const server = createServer()
    const answered = Promise.withResolvers<() => void>()
    server.on('upgrade', (_request, socket) => {
      socket.on('data', () => socket.end())
      answered.resolve(() => socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'))
    })
    const http = await up(server, { minDrainMs: 0, quietWindowMs: 0 })
    const late = await raw(http, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n')
    const answer = await answered.promise
    const drained = http.drain()
    await until(() => expect(http.leaving.aborted).toBe(true))
    answer()
    await until(() => expect(late.seen().subarray(-4)).toEqual(Buffer.from([0x88, 0x02, 0x03, 0xe9])))
    late.socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]))
    await drained
    await http.close()
  })
})

describe('a WebSocket over HTTP/2', () => {
  it('is told to go as one over HTTP/1 is, and holds the drain no longer', async () => {
    const server = createHttp2Server({ settings: { enableConnectProtocol: true } })
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on('error', () => {}).on('data', () => stream.end())
      if (headers[':path'] !== '/slow') stream.respond({ ':status': 200 })
    })
    const http = await up(server as never, { minDrainMs: 0, quietWindowMs: 0 })
    const session = http2Connect(`http://127.0.0.1:${http.port}`).on('error', () => {})
    cleanups.push(async () => session.destroy())
    await once(session, 'remoteSettings')
    const open = (path: string) => {
      const headers = { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':authority': 'films', ':path': path }
      const chunks: Buffer[] = []
      const stream = session.request(headers, { endStream: false }).on('error', () => {})
      stream.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        stream.end(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]))
      })
      return { stream, seen: () => Buffer.concat(chunks) }
    }
    const [answered, slow] = [open('/'), open('/slow')]
    await once(answered.stream, 'response')
    const ended = once(answered.stream, 'end')
    const from = performance.now()
    await http.drain({ timeoutMs: 60_000 })
    await ended
    expect(performance.now() - from).toBeLessThan(20_000)
    expect(answered.seen()).toEqual(Buffer.from([0x88, 0x02, 0x03, 0xe9]))
    expect(slow.seen()).toHaveLength(0)
    expect(http.stats().requests).toBe(0)
    await http.close()
    expect(http.stats().connections).toBe(0)
  })
})

describe('HTTP/2', () => {
  const h2 = (...paths: string[]) => {
    const server = createHttp2Server((request, response) => {
      setTimeout(() => response.end('ok'), paths.includes(request.url) ? 300 : 10)
    })
    // A busy machine is slow to open a session.
    return up(server as never, { minDrainMs: 4_000 })
  }
  const open = async (http: HttpServer) => {
    const session = http2Connect(`http://127.0.0.1:${http.port}`).on('error', () => {})
    cleanups.push(async () => session.destroy())
    await once(session, 'connect')
    const get = (path = '/'): Promise<string> =>
      new Promise((resolve) => {
        const stream = session.request({ ':path': path })
        stream.on('response', (headers) => stream.resume().on('end', () => resolve(String(headers[':status']))))
        stream.on('error', (error) => resolve(error.message)).end()
      })
    return { session, get }
  }

  it('serves every stream of a session that comes late, one after the other and at once', async () => {
    const http = await h2()
    const drained = http.drain()
    const { get } = await open(http)
    expect(await get()).toBe('200')
    expect(await Promise.all([get(), get(), get(), get()])).toEqual(['200', '200', '200', '200'])
    await drained
  })

  it('serves a request that is on its way to an idle session when the stop begins, and tells the session to go with it', async () => {
    const http = await h2()
    const { session, get } = await open(http)
    const lastIds: number[] = []
    session.on('goaway', (_code, lastId) => lastIds.push(lastId))
    http.quiesce()
    expect(await Promise.all([get(), get()])).toEqual(['200', '200'])
    await until(() => expect(lastIds[0]).toBe(2 ** 31 - 1))
  })

  it('parts by GOAWAY in two steps: all streams first, then the last one by its number; what runs is finished', async () => {
    const http = await h2('/slow')
    const { session, get } = await open(http)
    const lastIds: number[] = []
    session.on('goaway', (_code, lastId) => lastIds.push(lastId))
    const slow = get('/slow')
    await until(() => expect(http.stats().inFlight).toBe(1))
    await http.drain()
    expect(await slow).toBe('200')
    expect(lastIds[0]).toBe(2 ** 31 - 1)
    await until(() => expect(session.destroyed).toBe(true))
    expect(http.stats().inFlight).toBe(0)
  })
})

it('every answer says how busy this process is, and from the stop on that it leaves', async () => {
  let load: () => number = () => 0.256
  const http = await up((_, response) => response.end('ok'), { load: () => load(), minDrainMs: 500 })
  const headers = async () => {
    const response = await fetch(`http://127.0.0.1:${http.port}`)
    await response.text()
    return [response.headers.get('x-platform-load'), response.headers.get('x-platform-draining')]
  }
  expect(await headers()).toEqual(['0.26', null])
  load = () => 7
  expect(await headers()).toEqual(['1.00', null])
  for (const none of [() => Number.NaN, () => -1, () => 'x' as never]) {
    load = none
    expect(await headers()).toEqual([null, null])
  }
  load = () => {
    throw new Error('a mistake of the user')
  }
  expect(await headers()).toEqual([null, null])
  http.quiesce()
  expect(await headers()).toEqual([null, '1'])
})

it('the load of an event loop is near 0 when it is idle and near 1 when it is busy', async () => {
  const load = eventLoopLoad()
  await delay(1_100)
  expect(load()).toBeLessThan(0.8)
  const until = performance.now() + 1_100
  while (performance.now() < until);
  expect(load()).toBeGreaterThan(0.8)
})
