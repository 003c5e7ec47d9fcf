import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { withDeadline } from '@platform/kernel'
import { followCertificate } from '../certificate.ts'
import { listen, portOf } from '../listen.ts'
import type { ResolvedServiceOptions } from '../options.ts'
import { refusalOf } from './access.ts'
import { type AdminPage, pagesOf } from './pages.ts'
import { reply } from './reply.ts'

export interface AdminListener {
  readonly port: number | undefined
  listen(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

const probes = ['/live', '/ready', '/started']
/** Bound of what a page may wait for: the user's token and metrics are functions. */
const answerWithinMs = 10_000

/** Probes for everyone; the pages for those whom `access.ts` lets in. */
export function adminListener(options: ResolvedServiceOptions): AdminListener | undefined {
  const { admin, health, logger, name } = options
  if (!admin) return undefined
  const pages = pagesOf(options, admin)

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] as string
    if (probes.includes(path)) return health.handler(request, response)
    const refusal = await refusalOf(request, admin!)
    if (refusal) {
      if (refusal.status === 401) response.setHeader('www-authenticate', 'Bearer')
      return reply(response, refusal.status, refusal.text)
    }
    const page = pages.get(path)
    if (!page) return reply(response, 404, `paths are ${[...probes, ...pages.keys()].join(' ')}`)
    const method = (request.method === 'HEAD' ? 'GET' : request.method) as keyof AdminPage
    const answer = Object.hasOwn(page, method) ? page[method] : undefined
    if (!answer) return reply(response, 405, `${Object.keys(page).join(' or ')} only`)
    await answer(request, response)
  }

  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const late = () => new Error(`no answer within ${answerWithinMs} ms`)
    withDeadline(answerWithinMs, late, () => serve(request, response)).catch((error: unknown) => {
      logger.error({ err: error, path: request.url }, 'admin request failed')
      if (response.headersSent) response.destroy()
      else reply(response, 500, 'failed; see the log')
    })
  }
  const server = admin.tls ? createTlsServer(handle) : createServer(handle)
  const forget = admin.tls ? followCertificate(server, admin.tls, 'admin.tls', logger) : () => {}
  return {
    get port() {
      return portOf(server)
    },
    async listen(signal) {
      await listen(server, admin, signal)
      logger.info({ service: name, host: admin.host, port: portOf(server) }, 'admin listener is up')
    },
    async close() {
      forget()
      if (!server.listening) return
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}
