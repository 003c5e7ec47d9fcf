import type { Socket } from 'node:net'

const LENGTH_BYTES = 2

/** The messages of one connection, each behind its length. Ends with the connection, and with what is longer than `longest`. */
export async function* tcpMessages(socket: Socket, longest: number): AsyncGenerator<Buffer> {
  let pending: Buffer = Buffer.alloc(0)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
    while (pending.length >= LENGTH_BYTES) {
      const length = pending.readUInt16BE(0)
      if (length > longest) return
      if (pending.length < LENGTH_BYTES + length) break
      yield pending.subarray(LENGTH_BYTES, LENGTH_BYTES + length)
      pending = pending.subarray(LENGTH_BYTES + length)
    }
  }
}

export function tcpMessage(message: Buffer): Buffer {
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt16BE(message.length)
  return Buffer.concat([length, message])
}
