import type { Server } from 'node:http'
import type { INestApplication } from '@nestjs/common'
import { type HttpServer, type HttpServerOptions, httpServer } from '@platform/service/http'
import { bodyErrors, onlyContentTypes } from './body-rules.ts'
import { NestjsError } from './errors.ts'

export interface NestHttpOptions extends HttpServerOptions {
  /** Largest body that is parsed; a larger one is answered with 413. Default 102 400. */
  bodyLimitBytes?: number | undefined
  /** Types of bodies that are let in, others get 415. Default: JSON and forms. `*` in a type stands for anything. */
  contentTypes?: readonly string[] | undefined
}

export type { HttpServer, InboundHook, InboundRequest } from '@platform/service/http'

const defaultContentTypes = ['application/json', 'application/*+json', 'application/x-www-form-urlencoded']
const parsed = ['json', 'urlencoded'] as const

/** The members of NestExpressApplication that are used. */
interface ExpressApplication extends INestApplication {
  useBodyParser(type: 'json' | 'urlencoded', options: { limit: number; extended?: boolean; type?: string[] }): unknown
}

/**
 * A Nest application on platform-express as a component: `ready` initialises it and listens, `drain` is that of `httpServer`, `close` closes
 * the server and then the application with its hooks. Call it right after NestFactory.create, before other middleware; leave
 * `enableShutdownHooks` off.
 */
export function nestHttp(app: INestApplication, options: NestHttpOptions): HttpServer {
  const { bodyLimitBytes = 102_400, contentTypes = defaultContentTypes, ...serverOptions } = options
  if (!Number.isInteger(bodyLimitBytes) || bodyLimitBytes < 1) {
    throw new NestjsError('ERR_NESTJS_OPTION', 'nestHttp: bodyLimitBytes must be an integer of at least 1')
  }
  if (!Array.isArray(contentTypes) || contentTypes.some((type) => typeof type !== 'string')) {
    throw new NestjsError('ERR_NESTJS_OPTION', 'nestHttp: contentTypes must be an array of strings')
  }
  const adapter: { getType(): string } = app.getHttpAdapter()
  if (adapter.getType() !== 'express') {
    throw new NestjsError(
      'ERR_NESTJS_ADAPTER',
      `nestHttp works with @nestjs/platform-express, this application runs on ${adapter.getType()}`,
    )
  }
  const http = httpServer(app.getHttpServer() as Server, serverOptions)
  app.use(onlyContentTypes(contentTypes))
  for (const type of parsed) {
    ;(app as ExpressApplication).useBodyParser(type, {
      limit: bodyLimitBytes,
      ...(type === 'json' ? { type: ['application/json', 'application/*+json'] } : { extended: true }),
    })
  }
  app.use(bodyErrors)

  const { ready, close } = { ready: http.ready.bind(http), close: http.close.bind(http) }
  let closing: Promise<void> | undefined
  async function closeAll(timeoutMs: number | undefined): Promise<void> {
    await close(timeoutMs === undefined ? {} : { timeoutMs })
    await app.close()
  }
  return {
    get port() {
      return http.port
    },
    async ready(readyOptions) {
      await untilAborted(app.init(), readyOptions?.signal)
      await ready(readyOptions)
    },
    check: (checkOptions) => http.check?.(checkOptions) ?? Promise.resolve(),
    quiesce: () => http.quiesce(),
    drain: (drainOptions) => http.drain(drainOptions),
    close({ timeoutMs } = {}) {
      closing ??= closeAll(timeoutMs)
      return closing
    },
    stats: () => http.stats(),
    [Symbol.asyncDispose]() {
      return this.close()
    },
  }
}

/** Nest cannot be told to stop initialising; whoever waits for it can. */
function untilAborted(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<unknown> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason)
    if (signal.aborted) aborted()
    signal.addEventListener('abort', aborted)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted))
  })
}
