import { createServer, type Server } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo } from 'node:net'

export interface CollectedSpan {
  name: string
  kind: number
  traceId: string
  spanId: string
  parentSpanId: string | undefined
  attributes: Record<string, unknown>
  error: boolean
  service: unknown
}

interface OtlpAttribute {
  key: string
  value: Record<string, unknown>
}

const plain = (attributes: OtlpAttribute[] = []) => Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

/** A collector that keeps what it is sent. `status` can be changed to make it refuse. */
export async function startCollector(): Promise<{
  url: string
  spans: CollectedSpan[]
  requests: string[]
  answer: { status: number }
  close(): void
}> {
  const spans: CollectedSpan[] = []
  const requests: string[] = []
  const answer = { status: 200 }
  const server: Server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => (body += String(chunk)))
    request.on('end', () => {
      requests.push(`${request.method} ${request.url}`)
      if (answer.status === 200) {
        for (const resource of JSON.parse(body).resourceSpans) {
          for (const scope of resource.scopeSpans) {
            for (const span of scope.spans) {
              spans.push({
                ...span,
                parentSpanId: span.parentSpanId === '' ? undefined : span.parentSpanId,
                attributes: plain(span.attributes),
                error: span.status?.code === 2,
                service: plain(resource.resource.attributes)['service.name'],
              })
            }
          }
        }
      }
      response.writeHead(answer.status).end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    requests,
    answer,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Accepts connections and never answers. */
export async function startBlackHole(): Promise<{ url: string; connections(): number; close(): void }> {
  const sockets = new Set<{ destroy(): void }>()
  const server = createTcpServer((socket) => {
    sockets.add(
      socket
        .on('error', () => {})
        .on('close', () => sockets.delete(socket))
        .resume(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => sockets.size,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
