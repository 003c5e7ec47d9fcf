import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

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

export interface CollectedLog {
  severityText: string
  severityNumber: number
  timeUnixNano: string
  body: unknown
  traceId: string | undefined
  spanId: string | undefined
  attributes: Record<string, unknown>
  resource: Record<string, unknown>
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
  logs: CollectedLog[]
  requests: string[]
  headers: IncomingHttpHeaders[]
  answer: { status: number }
  close(): void
}> {
  const spans: CollectedSpan[] = []
  const logs: CollectedLog[] = []
  const requests: string[] = []
  const headers: IncomingHttpHeaders[] = []
  const answer = { status: 200 }
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      requests.push(`${request.method} ${request.url}`)
      headers.push(request.headers)
      const sent = Buffer.concat(chunks)
      const body = String(request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent)
      if (answer.status === 200) {
        const { resourceSpans = [], resourceLogs = [] } = JSON.parse(body)
        for (const { resource, scopeLogs } of resourceLogs) {
          for (const record of scopeLogs[0].logRecords) {
            logs.push({
              ...record,
              body: record.body?.stringValue,
              attributes: plain(record.attributes),
              resource: plain(resource.attributes),
            })
          }
        }
        for (const resource of resourceSpans) {
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
    logs,
    requests,
    headers,
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
