import type { Server, ServerResponse } from 'node:http'
import type { Http2SecureServer, Http2Server, ServerHttp2Session } from 'node:http2'
import type { Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Component } from '../component.ts'
import { ServiceError } from '../errors.ts'
import { listen, portOf } from '../listen.ts'
import { enterHooks } from './enter-hooks.ts'
import { type HttpServerOptions, resolveHttpServerOptions } from './options.ts'

export interface HttpServer extends Component {
  /** The real one, also when 0 was asked for; the asked one while it does not listen. */
  readonly port: number
  /** Listens. Rejects with ERR_SERVICE_PORT_TAKEN when it cannot. */
  ready(options?: { signal?: AbortSignal }): Promise<void>
  /** From now on every answer asks its client to leave (`Connection: close`, GOAWAY); requests are served as before. */
  quiesce(): void
  /** Waits until no request has come for the quiet window, stops listening, waits for what is in flight. */
  drain(options?: { signal?: AbortSignal }): Promise<void>
  close(options?: { timeoutMs?: number }): Promise<void>
  stats(): { inFlight: number; connections: number; requests: number; requestsAfterQuiesce: number }
  [Symbol.asyncDispose](): Promise<void>
}

const reapEveryMs = 25
/** After the last answer its socket gets this long to bring it to the client before it is destroyed. */
const lingerMs = 500

export function httpServer(server: Server | HttpsServer | Http2Server | Http2SecureServer, options: HttpServerOptions): HttpServer {
  const resolved = resolveHttpServerOptions(options)
  // The http2 servers differ in details that are handled where they matter.
  return new DrainingHttpServer(server as Server, resolved)
}

class DrainingHttpServer implements HttpServer {
  readonly #server: Server
  readonly #options: ReturnType<typeof resolveHttpServerOptions>
  readonly #active = new Set<ServerResponse>()
  readonly #sockets = new Set<Socket>()
  readonly #sessions = new Set<ServerHttp2Session>()
  readonly #giveBack: () => void
  #requests = 0
  #requestsAfterQuiesce = 0
  #quiescedAt: number | undefined
  #lastRequestAt = 0
  #closeAsked = false
  #cutting = false
  #draining: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(server: Server, options: ReturnType<typeof resolveHttpServerOptions>) {
    this.#server = server
    this.#options = options
    if ('keepAliveTimeout' in server) server.keepAliveTimeout = options.keepAliveTimeoutMs
    const { logger } = options
    const unhook = enterHooks(
      server,
      options.inbound,
      (_request, response) => this.#seen(response),
      (error) => logger?.error({ err: error }, 'inbound hook failed; answered 500'),
    )
    const onSocket = (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    }
    const onSession = (session: ServerHttp2Session) => {
      this.#sessions.add(session)
      session.once('close', () => this.#sessions.delete(session))
      // A balancer that has not heard of the stop yet: what it brings is served, and then it is sent away.
      if (this.#quiescedAt !== undefined) session.once('stream', () => session.close())
    }
    server.on('connection', onSocket)
    server.on('session', onSession)
    this.#giveBack = () => {
      unhook()
      server.removeListener('connection', onSocket)
      server.removeListener('session', onSession)
    }
  }

  get port(): number {
    return portOf(this.#server) ?? this.#options.port
  }

  async ready({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#closeAsked) throw new ServiceError('ERR_SERVICE_STOPPED', 'the HTTP server was closed')
    if (!this.#server.listening) await listen(this.#server, this.#options, signal)
  }

  check(): Promise<void> {
    return this.#server.listening
      ? Promise.resolve()
      : Promise.reject(new ServiceError('ERR_SERVICE_STOPPED', 'the HTTP server does not listen'))
  }

  quiesce(): void {
    if (this.#quiescedAt !== undefined) return
    this.#quiescedAt = performance.now()
    this.#lastRequestAt = this.#quiescedAt
    for (const response of this.#active) sendAway(response)
    for (const session of this.#sessions) session.close()
  }

  #seen(response: ServerResponse): void {
    this.#requests += 1
    this.#active.add(response)
    response.once('close', () => this.#active.delete(response))
    if (this.#quiescedAt === undefined) return
    this.#requestsAfterQuiesce += 1
    this.#lastRequestAt = performance.now()
    sendAway(response)
  }

  async drain({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted()
    this.quiesce()
    this.#draining ??= this.#drainOnce()
    await untilAborted(this.#draining, signal)
  }

  async #drainOnce(): Promise<void> {
    if (!this.#server.listening) return
    const { quietWindowMs, maxQuietWaitMs } = this.#options
    const from = performance.now()
    for (;;) {
      const now = performance.now()
      const left = Math.min(this.#lastRequestAt + quietWindowMs - now, from + maxQuietWaitMs - now)
      if (left <= 0 || this.#closeAsked) break
      await pause(Math.min(left, 100))
    }
    this.#stopListening()
    while (this.#active.size > 0 && !this.#cutting) {
      await pause(reapEveryMs)
      this.#reap()
    }
  }

  #stopListening(): void {
    if (this.#server.listening) this.#server.close()
    this.#reap()
  }

  /** Again and again: a socket that was busy at the first call becomes idle later, and would stay for the whole keep-alive time. */
  #reap(): void {
    this.#server.closeIdleConnections?.()
  }

  close({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(timeoutMs)
    return this.#closing
  }

  async #close(timeoutMs: number): Promise<void> {
    // Who calls close() without drain() does not wait for a balancer: the quiet window is drain's alone.
    this.#closeAsked = true
    const until = performance.now() + timeoutMs
    if (this.#server.listening || this.#active.size > 0) {
      await this.drain({ signal: AbortSignal.timeout(Math.max(0, Math.round(timeoutMs))) }).catch(() => {})
    }
    this.#cutting = true
    this.#stopListening()
    const lingerUntil = Math.min(until, performance.now() + lingerMs)
    while (this.#sockets.size > 0 && performance.now() < lingerUntil) {
      await pause(reapEveryMs)
      this.#reap()
    }
    for (const session of this.#sessions) session.destroy()
    const gone = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(gone)
    this.#giveBack()
  }

  stats(): { inFlight: number; connections: number; requests: number; requestsAfterQuiesce: number } {
    return {
      inFlight: this.#active.size,
      connections: this.#sockets.size,
      requests: this.#requests,
      requestsAfterQuiesce: this.#requestsAfterQuiesce,
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** HTTP/1: the client must not send another request on this connection. HTTP/2 has no such header; its sessions get a GOAWAY. */
function sendAway(response: ServerResponse): void {
  if (response.headersSent || response.req.httpVersionMajor > 1) return
  response.setHeader('connection', 'close')
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function untilAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason)
    signal.addEventListener('abort', aborted)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted))
  })
}
