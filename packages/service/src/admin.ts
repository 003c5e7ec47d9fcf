import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { listen, portOf } from './listen.ts'
import type { Credential, LoggerLike, ResolvedServiceOptions } from './options.ts'

export interface AdminListener {
  readonly port: number | undefined
  listen(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

const probes = ['/live', '/ready', '/started']

/** Probes without a token; /metrics and /level with it, when there is one. The level can be changed only from this machine or with a token. */
export function adminListener({ admin, health, logger, name }: ResolvedServiceOptions): AdminListener | undefined {
  if (!admin) return undefined
  const local = isLoopback(admin.host)

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] as string
    if (probes.includes(path)) return health.handler(request, response)
    if (admin?.token !== undefined && !(await bearer(request, admin.token))) {
      response.setHeader('www-authenticate', 'Bearer')
      return reply(response, 401, 'a bearer token is needed')
    }
    if (path === '/metrics' && admin?.metrics) {
      if (request.method !== 'GET') return reply(response, 405, 'GET only')
      const page = await admin.metrics({ headers: request.headers })
      response.writeHead(200, { 'content-type': page.contentType }).end(page.body)
      return
    }
    if (path === '/level' && hasLevel(logger)) {
      if (!local && admin?.token === undefined) return reply(response, 403, 'set admin.token, or bind to loopback')
      if (request.method === 'GET') return reply(response, 200, logger.level)
      if (request.method !== 'PUT') return reply(response, 405, 'GET or PUT')
      return setLevel(request, response, logger)
    }
    reply(response, 404, `paths are ${[...probes, '/metrics', '/level'].join(' ')}`)
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      logger.error({ err: error, path: request.url }, 'admin request failed')
      if (response.headersSent) response.destroy()
      else reply(response, 500, 'failed; see the log')
    })
  })
  return {
    get port() {
      return portOf(server)
    },
    async listen(signal) {
      await listen(server, admin, signal)
      logger.info({ service: name, host: admin.host, port: portOf(server) }, 'admin listener is up')
    },
    async close() {
      if (!server.listening) return
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function reply(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }).end(`${text}\n`)
}

async function setLevel(request: IncomingMessage, response: ServerResponse, logger: LoggerLike & { level: string }): Promise<void> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > 32) return reply(response, 413, 'a level is one word')
  }
  const before = logger.level
  try {
    logger.level = text.trim()
  } catch {
    return reply(response, 400, 'no such level')
  }
  logger.warn({ from: before, to: logger.level }, 'log level changed')
  reply(response, 200, logger.level)
}

function hasLevel(logger: LoggerLike): logger is LoggerLike & { level: string } {
  return typeof (logger as { level?: unknown }).level === 'string'
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

async function bearer(request: IncomingMessage, credential: Credential): Promise<boolean> {
  const asked = typeof credential === 'function' ? await credential() : credential
  const token = typeof asked === 'string' ? asked : asked.reveal()
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(`Bearer ${token}`), digest(request.headers.authorization ?? ''))
}
