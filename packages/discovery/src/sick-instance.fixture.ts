/** An instance in a process of its own: prints its port; `POST /be` changes how it answers from then on. */
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

const manners: Record<string, RequestListener> = {
  well: (_, response) => void setTimeout(() => response.end('ok'), 10),
  'failing half the time': (_, response) => void (Math.random() < 0.5 ? response.writeHead(503).end() : response.end('ok')),
  failing: (_, response) => response.writeHead(503).end(),
  slow: (_, response) => void setTimeout(() => response.end('ok'), 400),
  'slow in its bodies': (_, response) => {
    response.write('o')
    setTimeout(() => response.end('k'), 400)
  },
  'refusing fast': (_, response) => response.writeHead(429).end(),
}

let answer = manners['well']!
let hits = 0
const server = createServer((request, response) => {
  if (request.url === '/hits') {
    response.end(String(hits))
  } else if (request.url === '/be') {
    request.setEncoding('utf8').once('data', (manner: string) => {
      answer = manners[manner]!
      hits = 0
      response.end()
    })
  } else {
    hits++
    answer(request, response)
  }
})
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
