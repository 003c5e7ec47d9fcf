import type { Server } from 'node:http'
import type { INestApplication } from '@nestjs/common'
import { guarded, orAborted } from '@platform/kernel'
import { type HttpServer, type HttpServerOptions, httpServer } from '@platform/service/http'
import { type BodyOptions, prepareAdapter } from './adapters.ts'
import { nestLifecycle } from './nest-lifecycle.ts'

export interface NestHttpOptions extends HttpServerOptions, BodyOptions {}

export type { HttpServer, InboundHook, InboundRequest } from '@platform/service/http'

/**
 * A Nest application on Express or Fastify as a component: `ready` initialises it, starts its connected microservices and listens, `drain` is
 * that of `httpServer`, of its consumers and of its microservices' handlers, `close` closes the server and then the application with its hooks. Call it right after NestFactory.create, before
 * other middleware. The service owns the signals: what `enableShutdownHooks` registered is taken back.
 */
export function nestHttp(app: INestApplication, options: NestHttpOptions): HttpServer {
  const { bodyLimitBytes, contentTypes, ...serverOptions } = options
  const settle = prepareAdapter(app, { bodyLimitBytes, contentTypes })
  const http = httpServer(app.getHttpServer() as Server, serverOptions)
  const lifecycle = nestLifecycle(app)
  let closing: Promise<void> | undefined

  async function closeAll(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    await http.close({ timeoutMs })
    await lifecycle.close(Math.max(0, until - performance.now()))
  }
  const close = ({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> => (closing ??= closeAll(timeoutMs))

  return {
    get port() {
      return http.port
    },
    get leaving() {
      return http.leaving
    },
    async ready(readyOptions) {
      await lifecycle.init(readyOptions?.signal)
      await orAborted(settle(), readyOptions?.signal)
      await lifecycle.listen(() => app.startAllMicroservices(), readyOptions?.signal)
      await http.ready(readyOptions)
    },
    async check(checkOptions) {
      await http.check?.(checkOptions)
      return lifecycle.consumers()?.check()
    },
    quiesce() {
      http.quiesce()
      // Whether it worked shows in the drain, which waits for it.
      void guarded(() => lifecycle.consumers()?.quiesce())
    },
    async drain(drainOptions) {
      await Promise.all([http.drain(drainOptions), lifecycle.drain(drainOptions)])
    },
    close,
    stats: () => http.stats(),
    [Symbol.asyncDispose]: () => close(),
  }
}
