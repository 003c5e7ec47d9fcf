import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { OtlpTarget } from './otlp-target.ts'

export type SendResult =
  /** Taken, but for so many of them. */
  | { readonly kind: 'sent'; readonly rejected: number }
  /** For now; the collector may say for how long. */
  | { readonly kind: 'retryable'; readonly afterMs: number | undefined }
  | { readonly kind: 'refused' }

export interface OtlpSender {
  /** Never rejects. `signal` ends it at once, with its socket. */
  send(body: Uint8Array, signal: AbortSignal): Promise<SendResult>
  close(): void
}

const retryableStatus: ReadonlySet<number> = new Set([429, 502, 503, 504])
/** Of an answer; a collector has little to say. */
const maxAnswerBytes = 65_536

/**
 * The SDK's own exporter retries with timers that nothing can stop, and so outlives a close() that is bounded. This one is one request, and
 * whoever calls it decides about the next.
 */
export function otlpSender({ url, headers: given, compression }: OtlpTarget): OtlpSender {
  const secure = url.protocol === 'https:'
  const agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
  const request = secure ? httpsRequest : httpRequest
  const isGzip = compression === 'gzip'
  return {
    async send(plain, signal) {
      const body = isGzip ? await compressed(plain) : plain
      return new Promise((resolve) => {
        const encoding = isGzip ? { 'content-encoding': 'gzip' } : {}
        const headers = { ...given, 'content-type': 'application/json', ...encoding, 'content-length': body.byteLength }
        const sent = request(url, { method: 'POST', agent, headers, signal }, (response) => {
          let answer = ''
          response.setEncoding('utf8').on('data', (text: string) => {
            if (answer.length < maxAnswerBytes) answer += text
          })
          response.on('close', () => resolve(resultOf(response, answer)))
        })
        sent.on('error', () => resolve({ kind: 'retryable', afterMs: undefined }))
        sent.end(body)
      })
    },
    close: () => agent.destroy(),
  }
}

const compressed = promisify(gzip)

function resultOf(response: IncomingMessage, answer: string): SendResult {
  const status = response.statusCode ?? 0
  if (!response.complete) return { kind: 'retryable', afterMs: undefined }
  if (status >= 200 && status < 300) return { kind: 'sent', rejected: rejectedBy(answer) }
  return retryableStatus.has(status) ? { kind: 'retryable', afterMs: retryAfterMs(response.headers['retry-after']) } : { kind: 'refused' }
}

/** https://opentelemetry.io/docs/specs/otlp/#partial-success-1: a number, as JSON writes 64-bit ones in a text. */
function rejectedBy(answer: string): number {
  try {
    const { partialSuccess } = JSON.parse(answer) as { partialSuccess?: { rejectedSpans?: unknown; rejectedLogRecords?: unknown } }
    const rejected = Number(partialSuccess?.rejectedSpans ?? partialSuccess?.rejectedLogRecords ?? 0)
    return Number.isFinite(rejected) && rejected > 0 ? Math.trunc(rejected) : 0
  } catch {
    return 0
  }
}

/** Seconds or a date, RFC 9110, section 10.2.3. */
function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
