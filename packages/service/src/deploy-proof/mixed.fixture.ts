/**
 * An instance with all kinds of traffic: plain requests, uploads, event streams and WebSockets on PORT, HTTP/2 on a port that it writes to
 * `$FOLDER/<PORT>`, messages from AMQP_URL, each handled in 300 ms and noted in `$FOLDER/messages`.
 */
import { appendFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createBroker } from '@platform/queue'
import { rabbitmq } from '@platform/queue/rabbitmq'
import { httpServer } from '../http/index.ts'
import { component, createService } from '../index.ts'
import { acceptWebSocket, sold } from './mixed-protocol.fixture.ts'

const { PORT = '', FOLDER = '', AMQP_URL = '', MIN_DRAIN_MS = '' } = process.env
const drain = { host: '127.0.0.1', minDrainMs: Number(MIN_DRAIN_MS) }

const server = createServer((request, response) => {
  if (request.url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const beat = setInterval(() => response.write('data: beat\n\n'), 100)
    response.on('close', () => clearInterval(beat))
    return
  }
  let bytes = 0
  request.on('data', (chunk: Buffer) => (bytes += chunk.length))
  request.on('end', () => void delay(5).then(() => response.end(String(bytes))))
})
server.on('upgrade', (request, socket) => acceptWebSocket(request, socket))
const http = httpServer(server, { ...drain, port: Number(PORT) })
const http2 = httpServer(
  createHttp2Server((_request, response) => void delay(5).then(() => response.end('ok'))),
  { ...drain, port: 0 },
)
const announced = { ready: async () => writeFileSync(join(FOLDER, PORT), String(http2.port)), close: async () => {} }

const line = (fields: object, message?: string): void => console.log(JSON.stringify({ message, ...fields }))
const logger = { debug() {}, info: line, warn: line, error: line }
const broker = createBroker({ driver: rabbitmq({ urls: [AMQP_URL] }), service: 'mixed', logger })
const note = (what: string, id: string): void => appendFileSync(join(FOLDER, 'messages'), `${what} ${id}\n`)
const consumer = broker.consumer(
  sold,
  async ({ body }) => {
    note('begun', body.id)
    await delay(300)
    note('done', body.id)
  },
  { group: 'mixed', concurrency: 4 },
)

await createService({
  name: 'mixed',
  components: {
    broker,
    consumer: component(consumer, { needs: ['broker'] }),
    http2: component(http2, { needs: ['consumer'] }),
    announced: component(announced, { needs: ['http2'] }),
    http: component(http, { needs: ['announced'] }),
  },
  logger,
}).run()
