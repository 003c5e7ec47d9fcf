import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

/** FIN and opcode 8, two bytes of payload, 1001 "going away". A server's frames are not masked. RFC 6455, 5.5.1 and 7.4.1. */
const goingAway = Buffer.from([0x88, 0x02, 0x03, 0xe9])

type UpgradedSocket = Duplex & { bytesWritten?: number }

/** Connections that left HTTP by an upgrade. */
export class WebSockets {
  readonly #sockets = new Map<UpgradedSocket, { readonly isWebSocket: boolean; readonly writtenBefore: number }>()
  readonly #told = new WeakSet<UpgradedSocket>()

  get size(): number {
    return this.#sockets.size
  }

  add(request: IncomingMessage, socket: UpgradedSocket): void {
    const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket'
    this.#sockets.set(socket, { isWebSocket, writtenBefore: socket.bytesWritten ?? 0 })
    socket.once('close', () => this.#sockets.delete(socket))
  }

  /**
   * Tells every client to come back elsewhere, each once. One that was not answered yet would take the frame for the answer: it is told by a
   * later call.
   */
  goAway(): void {
    for (const [socket, { isWebSocket, writtenBefore }] of this.#sockets) {
      const isOpen = (socket.bytesWritten ?? 0) > writtenBefore && socket.writable
      if (!isWebSocket || !isOpen || this.#told.has(socket)) continue
      this.#told.add(socket)
      socket.write(goingAway)
    }
  }
}
