import { connect } from 'node:net'

const timeoutMs = 5_000

/** The version in the properties with which a broker greets every client, before anybody logs in. */
export function amqpVersion(url: string): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port || 5672) })
    let received = Buffer.alloc(0)
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no AMQP greeting within ${timeoutMs} ms`)))
    socket.once('connect', () => socket.write(Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1])))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      // A frame: type, channel, size of 4 bytes, payload, end mark.
      if (received.length < 7 || received.length < 8 + received.readUInt32BE(3)) return
      resolve(readVersion(received))
      socket.destroy()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the broker closed the connection')))
  })
}

/** A table entry: length of the name, name, type S, size of 4 bytes, text. */
function readVersion(frame: Buffer): string {
  const name = Buffer.from('\u0007versionS')
  const at = frame.indexOf(name)
  if (at < 0) return ''
  const start = at + name.length + 4
  return frame.toString('utf8', start, start + frame.readUInt32BE(start - 4))
}
