/**
 * One server for `questions/tax.ts`: answers a page of 300 bytes, from nothing but Fastify or with everything that a service has around it.
 * Told `count` over IPC, it tells the CPU time that it used since it was asked last.
 */
import { createWriteStream, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'

const [variant = ''] = process.argv.slice(2)
const text = 'x'.repeat(254)
const page = (id: string) => ({ id, text, title: 'A film' })

const servers: Record<string, () => Promise<number>> = { bare, ours, usual }

async function bare(): Promise<number> {
  const { default: Fastify } = await import('fastify')
  const app = Fastify()
  app.get<{ Params: { id: string } }>('/films/:id', (request) => page(request.params.id))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** Hooks, log lines with request and trace ids, metrics, traces at 10 %, a cache with single flight, a server that drains. */
async function ours(): Promise<number> {
  const { createLogger, logContextHook } = await import('@platform/logger')
  const { startTelemetry } = await import('@platform/telemetry')
  const { createCache } = await import('@platform/cache')
  const { memory } = await import('@platform/cache/memory')
  const { fastifyInbound, httpServer } = await import('@platform/service/http')
  const { default: Fastify } = await import('fastify')
  const telemetry = startTelemetry({ service: 'tax', sampling: { ratio: 0.1 } })
  const logger = createLogger({ name: 'tax', destination: openSync('/dev/null', 'w') })
  const cache = createCache({ namespace: 'tax', l1: memory({ maxBytes: 64e6 }), ttlMs: 60_000, logger })
  const app = Fastify()
  void app.register(fastifyInbound([]))
  app.addHook('onResponse', (request, reply, done) => {
    logger.info({ status: reply.statusCode, duration_ms: reply.elapsedTime }, 'request completed')
    done()
  })
  app.get<{ Params: { id: string } }>('/films/:id', (request) =>
    cache.getOrSet(request.params.id, () => Promise.resolve(page(request.params.id))),
  )
  await app.ready()
  const http = httpServer(app.server, { port: 0, host: '127.0.0.1', inbound: [telemetry.inbound, logContextHook], logger })
  await http.ready()
  return http.port
}

/** What people put together today: instrumentation that patches, its Prometheus exporter, pino-http, lru-cache. CommonJS, so that it can patch. */
async function usual(): Promise<number> {
  const require = createRequire(import.meta.url)
  const { context, metrics, trace } = require('@opentelemetry/api')
  const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks')
  const { PrometheusExporter } = require('@opentelemetry/exporter-prometheus')
  const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http')
  const { MeterProvider } = require('@opentelemetry/sdk-metrics')
  const { ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } = require('@opentelemetry/sdk-trace')
  const { FastifyOtelInstrumentation } = require('@fastify/otel')
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  trace.setGlobalTracerProvider(
    new TracerProvider({ sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(0.1) }), spanProcessors: [] }),
  )
  metrics.setGlobalMeterProvider(
    new MeterProvider({ readers: [new PrometheusExporter({ port: 0, host: '127.0.0.1', preventServerStart: true })] }),
  )
  const http = new HttpInstrumentation()
  http.setMeterProvider(metrics.getMeterProvider())
  http.setTracerProvider(trace.getTracerProvider())
  http.enable()
  require('node:http')
  const routes = new FastifyOtelInstrumentation()
  routes.setTracerProvider(trace.getTracerProvider())
  const Fastify = require('fastify')
  const pinoHttp = require('pino-http')
  const { LRUCache } = require('lru-cache')
  const pages = new LRUCache({ max: 10_000, ttl: 60_000, fetchMethod: (id: string) => Promise.resolve(page(id)) })
  const log = pinoHttp({ redact: ['req.headers.authorization', 'req.headers.cookie'] }, createWriteStream('/dev/null'))
  const app = Fastify()
  await app.register(routes.plugin())
  app.addHook('onRequest', (request: { raw: object }, reply: { raw: object }, done: () => void) => {
    log(request.raw, reply.raw)
    done()
  })
  app.get('/films/:id', (request: { params: { id: string } }) => pages.fetch(request.params.id))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

const start = servers[variant]
if (!start) throw new Error(`no variant ${variant}`)
process.on('SIGINT', () => process.exit(0))
process.send!({ port: await start() })
let last = process.cpuUsage()
process.on('message', () => {
  const { user, system } = process.cpuUsage(last)
  last = process.cpuUsage()
  process.send!({ cpuMicros: user + system })
})
