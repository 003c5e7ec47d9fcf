import { request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { ConfigError } from './errors.ts'
import { within } from './timing.ts'

export interface HttpRequest {
  readonly method?: 'GET' | 'PUT' | 'POST' | undefined
  readonly url: URL
  readonly headers?: OutgoingHttpHeaders | undefined
  readonly json?: unknown
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs: number
  /** A larger answer rejects. */
  readonly maxBytes: number
  /** Does not hold the process: for those who wait for a change. */
  readonly unref?: boolean | undefined
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One request on a connection of its own, bounded in time and size. Redirections are answers like any other. */
export function ask(options: HttpRequest): Promise<HttpAnswer> {
  const { url, timeoutMs, signal, maxBytes, json } = options
  const late = () => new ConfigError('ERR_CONFIG_SOURCE', `no answer from ${url.host} within ${timeoutMs} ms`)
  return within(
    timeoutMs,
    signal,
    late,
    (attempt) =>
      new Promise((resolve, reject) => {
        const text = json === undefined ? undefined : JSON.stringify(json)
        const outgoing = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
          method: options.method ?? 'GET',
          agent: false,
          signal: attempt,
          headers: {
            ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
            ...options.headers,
          },
        })
        if (options.unref) outgoing.on('socket', (socket) => socket.unref())
        outgoing.on('error', (cause: NodeJS.ErrnoException) =>
          reject(new ConfigError('ERR_CONFIG_SOURCE', `no answer from ${url.host} (${cause.code ?? 'cut'})`, { cause })),
        )
        outgoing.on('response', (response) => {
          const parts: Buffer[] = []
          let size = 0
          response.on('data', (part: Buffer) => {
            size += part.length
            if (size <= maxBytes) parts.push(part)
            else outgoing.destroy(new Error('too large'))
          })
          response.on('error', (cause) =>
            reject(new ConfigError('ERR_CONFIG_SOURCE', `the answer of ${url.host} broke off or is too large`, { cause })),
          )
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString('utf8') }),
          )
        })
        outgoing.end(text)
      }),
    options.unref === true,
  )
}

/** What is below a server's address, its own path kept. */
export function below(base: string, path: string, query: Readonly<Record<string, string>> = {}): URL {
  const url = new URL(base)
  url.pathname = url.pathname.replace(/\/$/, '') + path
  url.search = new URLSearchParams(query).toString()
  return url
}
