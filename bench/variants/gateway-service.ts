/** The service behind the door for `questions/gateway.ts`: answers a page of 300 bytes, and says who it is. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const page = JSON.stringify({ pid: process.pid, text: 'x'.repeat(280) })
const server = createServer((request, response) => {
  request.resume()
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': page.length }).end(page)
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as AddressInfo).port }))
process.on('disconnect', () => process.exit())
