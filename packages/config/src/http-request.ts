import { request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { background, backgroundTimeout, orAborted, withDeadline } from '@platform/kernel'
import { ConfigError } from './errors.ts'
import { foreignError } from './foreign-error.ts'

export interface HttpRequest {
  readonly method?: 'GET' | 'PUT' | 'POST' | 'DELETE' | undefined
  readonly url: URL
  readonly headers?: OutgoingHttpHeaders | undefined
  readonly json?: unknown
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs: number
  /** A larger answer rejects. */
  readonly maxBytes: number
  /** Does not hold the process: for those who wait for a change. */
  readonly isBackground?: boolean | undefined
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One request on a connection of its own, bounded in time and size. Redirections are answers like any other. */
export function ask(options: HttpRequest): Promise<HttpAnswer> {
  const { url, timeoutMs, signal } = options
  const late = () => new ConfigError('ERR_CONFIG_SOURCE', `no answer from ${url.host} within ${timeoutMs} ms`)
  const send = (attempt: AbortSignal): Promise<HttpAnswer> => exchange(options, attempt)
  return options.isBackground === true ? withoutHold(timeoutMs, late, send, signal) : withDeadline(timeoutMs, late, send, signal)
}

/** As `withDeadline`, for a request that nobody awaits. */
async function withoutHold<T>(ms: number, late: () => Error, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
  const limit = new AbortController()
  const timer = backgroundTimeout(() => limit.abort(late()), ms)
  const either = signal ? AbortSignal.any([signal, limit.signal]) : limit.signal
  try {
    return await orAborted(work(either), either)
  } finally {
    clearTimeout(timer)
  }
}

function exchange({ url, method, json, headers, isBackground, maxBytes }: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const text = json === undefined ? undefined : JSON.stringify(json)
    const content = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
    const request = url.protocol === 'https:' ? httpsRequest : httpRequest
    const outgoing = request(url, { method: method ?? 'GET', agent: false, signal, headers: { ...content, ...headers } })
    if (isBackground) outgoing.on('socket', (socket) => background(socket))
    outgoing.on('error', (cause: NodeJS.ErrnoException) => {
      const message = `no answer from ${url.host} (${cause.code ?? 'cut'})`
      reject(new ConfigError('ERR_CONFIG_SOURCE', message, { cause: foreignError(cause) }))
    })
    outgoing.on('response', (response) => {
      const parts: Buffer[] = []
      let size = 0
      response.on('data', (part: Buffer) => {
        size += part.length
        if (size <= maxBytes) parts.push(part)
        else outgoing.destroy(new Error('too large'))
      })
      response.on('error', (cause) => {
        const message = `the answer of ${url.host} broke off or is too large`
        reject(new ConfigError('ERR_CONFIG_SOURCE', message, { cause: foreignError(cause) }))
      })
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString('utf8') }),
      )
    })
    outgoing.end(text)
  })
}

/** What is below a server's address, its own path kept. */
export function below(base: string, path: string, query: Readonly<Record<string, string>> = {}): URL {
  const url = new URL(base)
  url.pathname = url.pathname.replace(/\/$/, '') + path
  url.search = new URLSearchParams(query).toString()
  return url
}
