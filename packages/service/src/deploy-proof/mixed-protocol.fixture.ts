/** What both sides of the mixed traffic know: the message, and as much of WebSocket as a server needs that only beats and says goodbye. */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { defineMessage, type Message } from '@platform/queue'
import { z } from 'zod'

export const sold: Message<{ id: string }, { id: string }> = defineMessage('films.sold', {
  version: 1,
  schema: z.object({ id: z.string() }),
})

const beat = Buffer.from([0x81, 0x04, ...Buffer.from('beat')])
const closeOpcode = 0x88

export function acceptWebSocket(request: IncomingMessage, socket: Duplex): void {
  const key = request.headers['sec-websocket-key'] ?? ''
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  let isOver = false
  const timer = setInterval(() => isOver || socket.write(beat), 100)
  // A client sends nothing but its answer to our close frame, whose opcode is the first byte; after that frame nothing may follow.
  socket.on('data', (data: Buffer) => {
    if (data[0] === closeOpcode) socket.end()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    isOver = true
    clearInterval(timer)
  })
}
