import net from 'node:net'
import tls from 'node:tls'
import type pg from 'pg'

/** What of `pg.Client` a CancelRequest needs and its types leave out. */
interface Target {
  readonly processID: number | null
  readonly secretKey: number | null
  readonly sslNegotiation?: string
}

const cancelCode = 80_877_102
const sslCode = 80_877_103

/**
 * Asks the server, on a socket of its own, to end what this connection runs. True when nothing is on its way any more: the server has
 * closed that socket, or the request was never sent. False when it was sent and may still arrive, at whatever runs then. Never rejects;
 * whoever waits for the statement's end sees a failure there.
 */
export function sendCancelRequest(client: pg.Client, timeoutMs: number): Promise<boolean> {
  const { processID, secretKey, sslNegotiation } = client as unknown as Target
  if (processID === null || secretKey === null) return Promise.resolve(true)
  return new Promise((resolve) => {
    const socket = connect(client)
    const timer = setTimeout(() => socket.destroy(), timeoutMs)
    let sent = false
    let confirmed = false
    socket.on('error', () => {})
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(!sent || confirmed)
    })
    const send = (stream: net.Socket): void => {
      sent = true
      stream.on('error', () => socket.destroy())
      stream.once('end', () => {
        confirmed = true
      })
      // The server answers by closing; without a reader the end would go unnoticed. It is for the server to close: PgBouncer 1.18 dies of
      // a client that does.
      stream.resume()
      stream.write(request(cancelCode, processID, secretKey))
    }
    socket.once('connect', () => {
      if (!client.ssl) send(socket)
      else if (sslNegotiation === 'direct') send(secure(socket, client, ['postgresql']))
      else {
        socket.once('data', (answer) => {
          if (answer.toString('latin1') === 'S') send(secure(socket, client))
          else socket.destroy()
        })
        socket.write(request(sslCode))
      }
    })
  })
}

/** The same server, even where the name has several addresses. */
function connect(client: pg.Client): net.Socket {
  const { remoteAddress, remotePort } = client.connection.stream as net.Socket
  if (client.host.startsWith('/')) return net.connect(`${client.host}/.s.PGSQL.${client.port}`)
  return net.connect(remotePort ?? client.port, remoteAddress ?? client.host)
}

function secure(socket: net.Socket, client: pg.Client, protocols?: string[]): tls.TLSSocket {
  const ssl = client.ssl as unknown as boolean | tls.ConnectionOptions
  return tls.connect({
    ...(typeof ssl === 'object' ? ssl : {}),
    socket,
    host: client.host,
    ...(net.isIP(client.host) === 0 ? { servername: client.host } : {}),
    ...(protocols === undefined ? {} : { ALPNProtocols: protocols }),
  })
}

function request(...words: readonly number[]): Buffer {
  const buffer = Buffer.alloc(4 + words.length * 4)
  buffer.writeInt32BE(buffer.length, 0)
  words.forEach((word, index) => buffer.writeInt32BE(word | 0, 4 + index * 4))
  return buffer
}
