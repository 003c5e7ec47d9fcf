import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'

export type SendResult = 'sent' | 'retryable' | 'refused'

export interface OtlpSender {
  /** Never rejects. `signal` ends it at once, with its socket. */
  send(spans: readonly ReadableSpan[], signal: AbortSignal): Promise<SendResult>
  close(): void
}

const retryableStatus: ReadonlySet<number> = new Set([429, 502, 503, 504])

/**
 * The SDK's own exporter retries with timers that nothing can stop, and so outlives a close() that is bounded. This one is one request, and
 * whoever calls it decides about the next.
 */
export function otlpSender(url: URL): OtlpSender {
  const secure = url.protocol === 'https:'
  const agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
  const request = secure ? httpsRequest : httpRequest
  return {
    send: (spans, signal) =>
      new Promise((resolve) => {
        const body = JsonTraceSerializer.serializeRequest([...spans])
        if (!body) return resolve('refused')
        const headers = { 'content-type': 'application/json', 'content-length': body.byteLength }
        const sent = request(url, { method: 'POST', agent, headers, signal }, (response) => {
          const status = response.statusCode ?? 0
          response.resume()
          response.on('close', () => resolve(status < 300 ? 'sent' : retryableStatus.has(status) ? 'retryable' : 'refused'))
        })
        sent.on('error', () => resolve('retryable'))
        sent.end(body)
      }),
    close: () => agent.destroy(),
  }
}
