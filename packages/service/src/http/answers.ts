import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Answers over HTTP/1 that are under way, and how they part from their clients. */
export class Answers {
  readonly #active = new Set<ServerResponse>()
  readonly #latest = new WeakMap<Socket, ServerResponse>()
  /** Those that were given `Connection: close` here. */
  readonly #last = new WeakSet<ServerResponse>()
  readonly #loadText: () => string | undefined
  #leaving = false

  /** `loadText` is what every answer says of this process's load; undefined: nothing. */
  constructor(loadText: () => string | undefined) {
    this.#loadText = loadText
  }

  get size(): number {
    return this.#active.size
  }

  /**
   * Whether a request is to be handled. One that was pipelined behind an answer which closes the connection is not: nobody would ever read
   * its answer (RFC 9112, 9.6).
   */
  admit(request: IncomingMessage, response: ServerResponse): boolean {
    const before = this.#latest.get(request.socket)
    if (before && this.#last.has(before)) {
      if (before.headersSent) return false
      before.removeHeader('connection')
    }
    this.#latest.set(request.socket, response)
    this.#active.add(response)
    response.on('close', () => this.#active.delete(response))
    const load = this.#loadText()
    if (load !== undefined) response.setHeader('x-platform-load', load)
    if (this.#leaving) this.#sendAway(response)
    return true
  }

  /** From now on the last answer on each connection asks its client to leave. */
  leave(): void {
    this.#leaving = true
    for (const response of this.#active) if (this.#latest.get(response.req.socket) === response) this.#sendAway(response)
  }

  #sendAway(response: ServerResponse): void {
    if (response.headersSent) return
    response.setHeader('connection', 'close')
    response.setHeader('x-platform-draining', '1')
    this.#last.add(response)
  }

  /** Event streams never end by themselves; their clients come back by themselves. */
  endEventStreams(): void {
    for (const response of this.#active) {
      if (!response.headersSent || response.writableEnded || !isEventStream(response)) continue
      // Whoever goes on writing to it until it hears of the end must not end the process.
      response.on('error', () => {})
      response.end()
    }
  }
}

function isEventStream(response: ServerResponse): boolean {
  const type = response.getHeader('content-type')
  if (type !== undefined) return String(type).toLowerCase().includes('text/event-stream')
  // What `writeHead` was given directly stands nowhere else.
  const { _header: sent } = response as { _header?: unknown }
  return typeof sent === 'string' && sent.toLowerCase().includes('content-type: text/event-stream')
}
