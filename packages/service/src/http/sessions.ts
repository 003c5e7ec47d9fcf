import { constants, type Http2Session, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'

const highestStreamId = 2 ** 31 - 1

/**
 * HTTP/2 sessions part in two steps (RFC 9113, 6.8): a GOAWAY that still admits every stream, so that what is on the wire is served, and,
 * at least a round trip later, the one that names the last stream.
 *
 * The first step waits for a stream: Node reads nothing more from a session without streams that it has sent a GOAWAY to, and a request that
 * is on its way to an idle session would never be read.
 */
export class Sessions {
  readonly #sessions = new Set<ServerHttp2Session>()
  readonly #streams = new Set<ServerHttp2Stream>()
  readonly #tunnels = new Set<ServerHttp2Stream>()
  readonly #warned = new WeakSet<Http2Session>()
  readonly #leaving = new WeakSet<Http2Session>()

  /** Answers under way: a tunnel (a WebSocket) ends when its client wants. */
  get size(): number {
    return this.#streams.size - this.#tunnels.size
  }

  add(session: ServerHttp2Session): void {
    this.#sessions.add(session)
    session.once('close', () => this.#sessions.delete(session))
  }

  addStream(stream: ServerHttp2Stream, isTunnel: boolean): void {
    this.#streams.add(stream)
    if (isTunnel) this.#tunnels.add(stream)
    stream.once('close', () => {
      this.#streams.delete(stream)
      this.#tunnels.delete(stream)
    })
    if (stream.session && this.#leaving.has(stream.session)) this.#warn(stream)
  }

  /**
   * The sessions that there are are told to open no more streams as soon as they have one. A session that comes later was opened by somebody who
   * has not heard yet: it is served until the next call.
   */
  leave(): void {
    for (const session of this.#sessions) this.#leaving.add(session)
    for (const stream of this.#streams) this.#warn(stream)
  }

  #warn({ session }: ServerHttp2Stream): void {
    if (session === undefined || this.#warned.has(session) || session.destroyed || session.closed) return
    this.#warned.add(session)
    session.goaway(constants.NGHTTP2_NO_ERROR, highestStreamId)
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
