/**
 * An instance to be replaced: `node serve.fixture.ts <minDrainMs> [bare]`, on PORT. Answers everything after 20 ms; `bare` is a program that
 * closes its listener at once, as many do.
 */
import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { httpServer } from '../http/index.ts'
import { createService } from '../index.ts'

const [minDrainMs = '0', mode] = process.argv.slice(2)
const port = Number(process.env['PORT'])
const server = createServer((request, response) => {
  request.resume()
  void delay(20).then(() => response.end('ok'))
})
if (mode === 'bare') {
  server.listen(port, '127.0.0.1')
  process.once('SIGTERM', () => {
    server.close()
    // Every connection goes when it is idle, so that whoever comes next needs a new one.
    const parting = setInterval(() => server.closeIdleConnections(), 5)
    server.once('close', () => clearInterval(parting))
  })
} else {
  const line = (fields: object, message?: string): void => console.log(JSON.stringify({ message, ...fields }))
  const http = httpServer(server, { port, host: '127.0.0.1', minDrainMs: Number(minDrainMs), quietWindowMs: 200 })
  const logger = { debug() {}, info: line, warn: line, error: line }
  await createService({ name: 'instance', components: { http }, logger }).run()
}
