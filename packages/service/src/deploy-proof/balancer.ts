import { once } from 'node:events'
import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { portOf } from '../listen.ts'

/** What stands before the instances. It is told late of whoever leaves, as every balancer is. */
export interface Balancer {
  readonly url: string
  /** From now on requests go to these, each port on 127.0.0.1. */
  route(ports: readonly number[]): Promise<void>
  close(): Promise<void>
}

/**
 * One turn each over connections that are kept, and no second try: a balancer that tries again hides what is to be counted. What an instance
 * did not answer is 502 with the reason; what breaks off is broken off.
 */
export async function startBalancer(): Promise<Balancer> {
  const agent = new Agent({ keepAlive: true })
  let targets: readonly number[] = []
  let turn = 0

  const server = createServer((incoming, answer) => {
    const port = targets[turn++ % targets.length]
    if (port === undefined) return void answer.writeHead(502).end('no instance')
    forward(incoming, answer, { port, agent })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    async route(ports) {
      targets = [...ports]
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      agent.destroy()
      await closed
    },
  }
}

function forward(incoming: IncomingMessage, answer: ServerResponse, { port, agent }: { port: number; agent: Agent }): void {
  const { method, url, headers } = incoming
  // Of the hop before, not of this one.
  const { connection: _connection, 'keep-alive': _keepAlive, ...rest } = headers
  const outgoing = httpRequest({ host: '127.0.0.1', port, method, path: url, headers: rest, agent }, (response) => {
    const { connection: _hop, 'keep-alive': _time, ...kept } = response.headers
    answer.writeHead(response.statusCode ?? 502, kept)
    response.pipe(answer)
    response.on('error', () => answer.destroy())
  })
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    if (answer.headersSent) answer.destroy()
    else answer.writeHead(502).end(error.code ?? 'failed')
  })
  answer.on('close', () => {
    if (!answer.writableFinished) outgoing.destroy()
  })
  incoming.pipe(outgoing)
}
