import { request } from 'node:http'
import { endpointOf } from './endpoint.ts'
import { StackError } from './errors.ts'

/** For a server whose management listener is not at its AMQP port plus 10,000 (RabbitMQ's own distance: 5672, 15672). */
export const managementVariable = 'PLATFORM_RABBITMQ_MANAGEMENT_URL'
const timeoutMs = 30_000

export function managementUrl(amqpUrl: string): string {
  const { hostname, port, username, password } = new URL(amqpUrl)
  return `http://${username}:${password}@${hostname}:${Number(port || 5672) + 10_000}`
}

/** `path` below `/api/`; answers other than 2xx reject. Keeps no connection: an open one delays the broker's stop by five seconds. */
export function managementRequest(baseUrl: string, method: string, path: string, body?: unknown): Promise<void> {
  const { username, password } = new URL(baseUrl)
  const text = body === undefined ? '' : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const outgoing = request({
      ...endpointOf(baseUrl, 80),
      method,
      path: `/api/${path}`,
      auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}`,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      agent: false,
      timeout: timeoutMs,
    })
    outgoing.once('timeout', () => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    const lost = (cause: Error) => {
      reject(new StackError('ERR_STACK_UNREACHABLE', `RabbitMQ did not answer ${method} ${path}: ${cause.message}`, { cause }))
    }
    outgoing.once('error', lost)
    outgoing.once('response', (response) => {
      const { statusCode = 0 } = response
      response.resume()
      response.once('error', lost)
      response.once('end', () => {
        if (statusCode >= 200 && statusCode < 300) resolve()
        else reject(new StackError('ERR_STACK_REFUSED', `RabbitMQ: ${method} ${path} answered ${statusCode}`))
      })
    })
    outgoing.end(text)
  })
}
