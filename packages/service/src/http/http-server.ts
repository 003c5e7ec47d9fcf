import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Http2SecureServer, Http2Server } from 'node:http2'
import type { Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import { orAborted, pause } from '@platform/kernel'
import { followCertificate } from '../certificate.ts'
import type { Component } from '../component.ts'
import { ServiceError } from '../errors.ts'
import { listen, portOf } from '../listen.ts'
import { Answers } from './answers.ts'
import { enterHooks } from './enter-hooks.ts'
import { loadText } from './load.ts'
import { type HttpServerOptions, type ResolvedHttpServerOptions, resolveHttpServerOptions } from './options.ts'
import { untilQuiet } from './quiet.ts'
import { Sessions } from './sessions.ts'
import { WebSockets } from './web-sockets.ts'

export interface HttpServer extends Component {
  /** The real one, also when 0 was asked for; the asked one while it does not listen. */
  readonly port: number
  /** Aborts when the listener closes: for answers that would never end by themselves (long polls). Event streams are ended without it. */
  readonly leaving: AbortSignal
  /** Listens. Rejects with ERR_SERVICE_PORT_TAKEN when it cannot. */
  ready(options?: { signal?: AbortSignal }): Promise<void>
  /** From now on every answer asks its client to leave (`Connection: close`, GOAWAY); requests are served as before. */
  quiesce(): void
  /** Keeps the listener open for `minDrainMs` and until it is quiet, closes it, waits for what is in flight. */
  drain(options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<void>
  close(options?: { timeoutMs?: number }): Promise<void>
  stats(): { inFlight: number; connections: number; requests: number; requestsAfterQuiesce: number }
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * serving: from the start. leaving: clients are asked to go, and served. parting: the listener is closed, answers end. cutting: `close` was
 * called, nothing is waited for any more but the last bytes.
 */
type Stage = 'serving' | 'leaving' | 'parting' | 'cutting'

const reapEveryMs = 25
/** Between the two GOAWAYs: longer than a round trip to a balancer. */
const goAwayGapMs = 150
/** WebSocket clients get this long to answer the close frame. */
const webSocketFarewellMs = 2_000
/** After the last answer its socket gets this long to bring it to the client before it is destroyed. */
const lingerMs = 500

export function httpServer(server: Server | HttpsServer | Http2Server | Http2SecureServer, options: HttpServerOptions): HttpServer {
  // The http2 servers differ in details that are handled where they matter.
  return new DrainingHttpServer(server as Server, resolveHttpServerOptions(options))
}

class DrainingHttpServer implements HttpServer {
  readonly #server: Server
  readonly #options: ResolvedHttpServerOptions
  readonly #sockets = new Set<Socket>()
  readonly #answers: Answers
  readonly #sessions = new Sessions()
  readonly #webSockets = new WebSockets()
  readonly #leaving = new AbortController()
  readonly #giveBack: () => void
  #stage: Stage = 'serving'
  #requests = 0
  #requestsAfterQuiesce = 0
  #leftAt = 0
  #lastRequestAt = 0
  #draining: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(server: Server, options: ResolvedHttpServerOptions) {
    this.#server = server
    this.#options = options
    this.#answers = new Answers(() => loadText(options.load))
    const forget = options.tls ? followCertificate(server, options.tls, 'tls', options.logger) : () => {}
    if ('keepAliveTimeout' in server) server.keepAliveTimeout = options.keepAliveTimeoutMs
    const unhook = enterHooks(server, options.inbound, {
      request: (request, response) => {
        // Those of HTTP/2 were counted as streams.
        if (request.httpVersionMajor === 1) {
          if (!this.#answers.admit(request, response)) return false
          this.#count()
        }
        return this.#isForUs(request) || refuseStray(response)
      },
      stream: (stream, headers) => {
        const isTunnel = headers[':method'] === 'CONNECT'
        this.#sessions.addStream(stream, isTunnel)
        if (isTunnel) this.#webSockets.addStream(stream, headers)
        else this.#count()
      },
      upgrade: (request, socket) => this.#webSockets.add(request, socket),
      hookFailed: (error) => options.logger.error({ err: error }, 'inbound hook failed; answered 500'),
    })
    const onSocket = (socket: Socket): void => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    }
    const onSession = this.#sessions.add.bind(this.#sessions)
    server.on('connection', onSocket)
    server.on('session', onSession)
    this.#giveBack = () => {
      forget()
      unhook()
      server.removeListener('connection', onSocket)
      server.removeListener('session', onSession)
    }
  }

  get port(): number {
    return portOf(this.#server) ?? this.#options.port
  }

  get leaving(): AbortSignal {
    return this.#leaving.signal
  }

  /** What `createService` holds against the grace period. */
  get minDrainMs(): number {
    return this.#options.minDrainMs
  }

  async ready({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#stage === 'cutting') throw new ServiceError('ERR_SERVICE_STOPPED', 'the HTTP server was closed')
    if (!this.#server.listening) await listen(this.#server, this.#options, signal)
  }

  check(): Promise<void> {
    return this.#server.listening
      ? Promise.resolve()
      : Promise.reject(new ServiceError('ERR_SERVICE_STOPPED', 'the HTTP server does not listen'))
  }

  #isForUs({ headers }: IncomingMessage): boolean {
    const asked = headers['x-platform-service']
    return asked === undefined || this.#options.serves?.has(String(asked)) !== false
  }

  #count(): void {
    this.#requests += 1
    if (this.#stage === 'serving') return
    this.#requestsAfterQuiesce += 1
    this.#lastRequestAt = performance.now()
  }

  quiesce(): void {
    if (this.#stage !== 'serving') return
    this.#stage = 'leaving'
    this.#leftAt = performance.now()
    this.#lastRequestAt = this.#leftAt
    this.#answers.leave()
    this.#sessions.leave()
  }

  async drain({ signal, timeoutMs = Infinity }: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<void> {
    signal?.throwIfAborted()
    this.quiesce()
    this.#draining ??= this.#drainOnce(timeoutMs)
    await orAborted(this.#draining, signal)
  }

  async #drainOnce(timeoutMs: number): Promise<void> {
    if (this.#server.listening) {
      await untilQuiet(this.#options, {
        from: this.#leftAt,
        timeoutMs,
        lastRequestAt: () => this.#lastRequestAt,
        isCut: () => this.#stage !== 'leaving',
      })
      await this.#part(goAwayGapMs)
    }
    const farewellUntil = performance.now() + webSocketFarewellMs
    while (this.#isBusy(performance.now() < farewellUntil) && this.#stage !== 'cutting') {
      await pause(reapEveryMs)
      this.#reap()
    }
  }

  #isBusy(withWebSockets: boolean): boolean {
    return this.#answers.size + this.#sessions.size + (withWebSockets ? this.#webSockets.size : 0) > 0
  }

  /** Closes the listener and tells whoever would stay. */
  async #part(gapMs: number): Promise<void> {
    if (this.#stage !== 'cutting') this.#stage = 'parting'
    if (!this.#leaving.signal.aborted) this.#leaving.abort(new ServiceError('ERR_SERVICE_STOPPED', 'the HTTP server is stopping'))
    this.#sessions.leave()
    if (this.#server.listening && gapMs > 0 && this.#sessions.size > 0) await pause(gapMs)
    if (this.#server.listening) this.#server.close()
    this.#sessions.close()
    this.#reap()
  }

  /** Again and again: a socket that was busy at the first call becomes idle later, and would stay for the whole keep-alive time. */
  #reap(): void {
    this.#answers.endEventStreams()
    this.#sessions.endEventStreams()
    this.#webSockets.goAway()
    this.#server.closeIdleConnections?.()
  }

  close({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(timeoutMs)
    return this.#closing
  }

  async #close(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    // Who calls close() without drain() does not wait for a balancer: that time is drain's alone.
    this.quiesce()
    await this.#part(0)
    while (this.#isBusy(false) && performance.now() < until) {
      await pause(reapEveryMs)
      this.#reap()
    }
    this.#stage = 'cutting'
    const lingerUntil = Math.min(until, performance.now() + lingerMs)
    while (this.#sockets.size > 0 && performance.now() < lingerUntil) {
      await pause(reapEveryMs)
      this.#reap()
    }
    this.#sessions.destroy()
    const gone = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(gone)
    this.#giveBack()
  }

  stats(): { inFlight: number; connections: number; requests: number; requestsAfterQuiesce: number } {
    return {
      inFlight: this.#answers.size + this.#sessions.size,
      connections: this.#sockets.size,
      requests: this.#requests,
      requestsAfterQuiesce: this.#requestsAfterQuiesce,
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** RFC 9110, 15.5.20: whoever asked may ask elsewhere, whatever it was. */
function refuseStray(response: ServerResponse): false {
  response.statusCode = 421
  response.end()
  return false
}
