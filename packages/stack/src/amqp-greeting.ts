import { connect } from 'node:net'
import { endpointOf } from './endpoint.ts'

const timeoutMs = 5_000

export interface Greeting {
  version: string
  /** RabbitMQ calls a cluster like its first node. */
  clusterName: string
}

/** From the properties with which a broker greets every client, before anybody logs in. */
export function amqpGreeting(url: string): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    const socket = connect(endpointOf(url, 5672))
    let received = Buffer.alloc(0)
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no AMQP greeting within ${timeoutMs} ms`)))
    socket.once('connect', () => socket.write(Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1])))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      // A frame: type, channel, size of 4 bytes, payload, end mark.
      if (received.length < 7 || received.length < 8 + received.readUInt32BE(3)) return
      resolve({ version: property(received, 'version'), clusterName: property(received, 'cluster_name') })
      socket.destroy()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the broker closed the connection')))
  })
}

/** A table entry: length of the name, name, type S, size of 4 bytes, text. */
function property(frame: Buffer, name: string): string {
  const mark = Buffer.from(`${String.fromCharCode(name.length)}${name}S`)
  const at = frame.indexOf(mark)
  const start = at + mark.length + 4
  if (at < 0 || start > frame.length) return ''
  return frame.toString('utf8', start, start + frame.readUInt32BE(start - 4))
}
