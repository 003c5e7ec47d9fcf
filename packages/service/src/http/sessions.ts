import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'

const highestStreamId = 2 ** 31 - 1

/**
 * HTTP/2 sessions part in two steps (RFC 9113, 6.8): a GOAWAY that still admits every stream, so that what is on the wire is served, and,
 * at least a round trip later, the one that names the last stream.
 */
export class Sessions {
  readonly #sessions = new Set<ServerHttp2Session>()
  readonly #streams = new Set<ServerHttp2Stream>()
  readonly #warned = new WeakSet<ServerHttp2Session>()

  /** Streams under way. */
  get size(): number {
    return this.#streams.size
  }

  get isOpen(): boolean {
    return this.#sessions.size > 0
  }

  add(session: ServerHttp2Session): void {
    this.#sessions.add(session)
    session.once('close', () => this.#sessions.delete(session))
  }

  addStream(stream: ServerHttp2Stream): void {
    this.#streams.add(stream)
    stream.once('close', () => this.#streams.delete(stream))
  }

  /** The first step, for the sessions that there are. One that comes later is served until the second step is near. */
  warn(): void {
    for (const session of this.#sessions) {
      if (this.#warned.has(session) || session.destroyed || session.closed) continue
      this.#warned.add(session)
      session.goaway(constants.NGHTTP2_NO_ERROR, highestStreamId)
    }
  }

  /** The second step: no further streams, those under way go on. */
  close(): void {
    for (const session of this.#sessions) if (!session.closed) session.close()
  }

  endEventStreams(): void {
    for (const stream of this.#streams) {
      const type = stream.sentHeaders?.['content-type']
      if (stream.writableEnded || !String(type).toLowerCase().includes('text/event-stream')) continue
      stream.on('error', () => {})
      stream.end()
    }
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy()
  }
}
