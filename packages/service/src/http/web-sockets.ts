import type { IncomingMessage } from 'node:http'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'

/** FIN and opcode 8, two bytes of payload, 1001 "going away". A server's frames are not masked. RFC 6455, 5.5.1 and 7.4.1. */
const goingAway = Buffer.from([0x88, 0x02, 0x03, 0xe9])

interface Upgraded {
  readonly isWebSocket: boolean
  /** The server has said yes: what it writes now are frames. */
  isAnswered(): boolean
}

/** Connections that left HTTP by an upgrade, or over HTTP/2 by an extended CONNECT (RFC 8441). */
export class WebSockets {
  readonly #sockets = new Map<Duplex, Upgraded>()
  readonly #told = new WeakSet<Duplex>()

  get size(): number {
    return this.#sockets.size
  }

  add({ headers }: IncomingMessage, socket: Duplex & { bytesWritten?: number }): void {
    const writtenBefore = socket.bytesWritten ?? 0
    const isAnswered = (): boolean => (socket.bytesWritten ?? 0) > writtenBefore
    this.#keep(socket, { isWebSocket: headers.upgrade?.toLowerCase() === 'websocket', isAnswered })
  }

  addStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    this.#keep(stream, { isWebSocket: headers[':protocol'] === 'websocket', isAnswered: () => stream.headersSent })
  }

  #keep(socket: Duplex, upgraded: Upgraded): void {
    this.#sockets.set(socket, upgraded)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  /**
   * Tells every client to come back elsewhere, each once. One that was not answered yet would take the frame for the answer: it is told by a
   * later call.
   */
  goAway(): void {
    for (const [socket, { isWebSocket, isAnswered }] of this.#sockets) {
      if (!isWebSocket || !isAnswered() || !socket.writable || this.#told.has(socket)) continue
      this.#told.add(socket)
      socket.write(goingAway)
    }
  }
}
