import type { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import {
  type Attributes,
  type Context,
  context,
  type Histogram,
  type MeterProvider,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from '@opentelemetry/api'
import {
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_REQUEST_METHOD_ORIGINAL,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
  ATTR_URL_PATH,
  ATTR_URL_SCHEME,
  METRIC_HTTP_SERVER_REQUEST_DURATION,
} from '@opentelemetry/semantic-conventions'
import { guarded } from '@platform/kernel'
import type { ExemplarReservoir } from './exemplars.ts'
import { SCOPE } from './instrumentation.ts'

/** What the hook reads of a request. `response` and `route` come from `@platform/service/http`; without them the status is unknown. */
export interface InboundRequest {
  readonly method: string
  readonly url: string
  readonly headers: Record<string, string | string[] | undefined>
  readonly response?: Pick<ServerResponse, 'statusCode' | 'headersSent' | 'writableFinished' | 'once'> & {
    readonly req?: { readonly socket?: object; readonly emit?: EventEmitter['emit'] }
    readonly emit?: EventEmitter['emit']
  }
  route?(): string | undefined
  /** Whether whoever calls the hook sees to it that the events of the request run in its context. */
  readonly carriesContext?: boolean
}

export type InboundHook = <T>(request: InboundRequest, run: () => T) => T

const httpMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'QUERY'])

/**
 * HTTP: a server span below the caller's `traceparent`, and one duration. Anything else that enters with headers (a message): the caller's
 * trace becomes the current one, and whoever handles it makes its own span.
 */
export function inboundHook(tracer: Tracer, meters: MeterProvider, exemplars: ExemplarReservoir): InboundHook {
  const duration: Histogram = meters
    .getMeter(SCOPE)
    .createHistogram(METRIC_HTTP_SERVER_REQUEST_DURATION, { unit: 's', description: 'Duration of HTTP server requests.' })

  return (request, run) => {
    const parent = propagation.extract(ROOT_CONTEXT, request.headers)
    if (!httpMethods.has(request.method) && !request.response) return context.with(withRemote(parent), run)

    const known = httpMethods.has(request.method)
    const method = known ? request.method : '_OTHER'
    const base: Attributes = { [ATTR_HTTP_REQUEST_METHOD]: method, [ATTR_URL_SCHEME]: schemeOf(request) }
    const span = tracer.startSpan(
      known ? method : 'HTTP',
      {
        kind: SpanKind.SERVER,
        attributes: {
          ...base,
          [ATTR_URL_PATH]: pathOf(request.url),
          ...(known ? {} : { [ATTR_HTTP_REQUEST_METHOD_ORIGINAL]: request.method }),
        },
      },
      parent,
    )
    const startedAt = performance.now()
    const finish = (outcome: Attributes) => {
      const seconds = (performance.now() - startedAt) / 1000
      const route = guarded(() => request.route?.())
      const attributes: Attributes = { ...base, ...outcome, ...(typeof route === 'string' ? { [ATTR_HTTP_ROUTE]: route } : {}) }
      duration.record(seconds, attributes, trace.setSpan(parent, span))
      if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0) exemplars.offer(attributes, seconds, span.spanContext())
      endSpan(span, known ? method : 'HTTP', typeof route === 'string' ? route : undefined, outcome)
    }

    const { response } = request
    if (response) {
      const inside = trace.setSpan(parent, span)
      response.once('close', () => finish(outcomeOf(response)))
      if (request.carriesContext !== true) {
        carryInto(inside, response)
        if (response.req) carryInto(inside, response.req)
      }
      return context.with(inside, run)
    }
    return withoutResponse(trace.setSpan(parent, span), run, finish)
  }
}

function withRemote(parent: Context): Context {
  const remote = trace.getSpanContext(parent)
  return remote ? trace.setSpanContext(context.active(), remote) : trace.deleteSpan(context.active())
}

function outcomeOf(response: NonNullable<InboundRequest['response']>): Attributes {
  const status: Attributes = response.headersSent ? { [ATTR_HTTP_RESPONSE_STATUS_CODE]: response.statusCode } : {}
  // The connection went before the answer was out.
  if (!response.writableFinished) return { ...status, [ATTR_ERROR_TYPE]: 'aborted' }
  return response.statusCode >= 500 ? { ...status, [ATTR_ERROR_TYPE]: String(response.statusCode) } : status
}

function withoutResponse<T>(inside: Context, run: () => T, finish: (outcome: Attributes) => void): T {
  const failed = (error: unknown) => finish({ [ATTR_ERROR_TYPE]: error instanceof Error ? error.name : '_OTHER' })
  try {
    const result = context.with(inside, run)
    if (result instanceof Promise) {
      result.then(() => finish({}), failed)
      return result
    }
    if (isThenable(result)) {
      // Asked once: the `then` of a query builder is what runs the query.
      const promise = Promise.resolve(result)
      promise.then(() => finish({}), failed)
      return promise as T
    }
    finish({})
    return result
  } catch (error) {
    failed(error)
    throw error
  }
}

/** The path of a request target, which a client that speaks to a proxy sends as a whole URL, credentials and all. */
function pathOf(target: string): string {
  const path = target.split(/[?#]/, 1)[0]!
  if (path.startsWith('/') || path === '*') return path
  const url = URL.parse(target)
  return url === null || url.host === '' ? '/' : url.pathname
}

/** Events of a request and its response come from the connection and know nothing of the span: their listeners run inside it from now on. */
function carryInto(inside: Context, emitter: { emit?: EventEmitter['emit'] }): void {
  const { emit } = emitter
  if (emit === undefined) return
  emitter.emit = function (this: EventEmitter, ...args: Parameters<EventEmitter['emit']>) {
    return context.with(inside, () => emit.apply(this, args))
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && guarded(() => typeof (value as { then?: unknown }).then === 'function') === true
}

function endSpan(span: Span, method: string, route: string | undefined, outcome: Attributes): void {
  if (route !== undefined) {
    span.updateName(`${method} ${route}`)
    span.setAttribute(ATTR_HTTP_ROUTE, route)
  }
  span.setAttributes(outcome)
  if (outcome[ATTR_ERROR_TYPE] !== undefined) span.setStatus({ code: SpanStatusCode.ERROR })
  span.end()
}

function schemeOf(request: InboundRequest): 'http' | 'https' {
  const socket = request.response?.req?.socket
  return socket && 'encrypted' in socket && socket.encrypted === true ? 'https' : 'http'
}
