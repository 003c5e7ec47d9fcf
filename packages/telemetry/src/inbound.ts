import type { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanStatusCode,
  trace,
  TraceFlags,
  type SpanContext,
} from '@opentelemetry/api'
import {
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_REQUEST_METHOD_ORIGINAL,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
  ATTR_URL_PATH,
  ATTR_URL_SCHEME,
} from '@opentelemetry/semantic-conventions'
import type { Resource } from '@opentelemetry/resources'
import { guarded } from '@platform/kernel'
import type { Durations } from './durations.ts'
import { randomIds } from './random-ids.ts'
import type { CountingSampler } from './sampling.ts'
import { ServerSpan } from './server-span.ts'

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

export const httpMethods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'TRACE',
  'QUERY',
])

/** Where the spans and durations of requests go. */
export interface RequestSinks {
  readonly sampler: CountingSampler
  readonly durations: Durations
  readonly resource: Resource
  /** Told of each sampled span once it has ended. */
  onEnd(span: ServerSpan): void
}

/**
 * HTTP: a server span below the caller's `traceparent`, and one duration. Anything else that enters with headers (a message): the caller's
 * trace becomes the current one, and whoever handles it makes its own span.
 */
export function inboundHook(sinks: RequestSinks): InboundHook {
  return (request, run) => {
    const { method, headers, response } = request
    const isAlone = headers['traceparent'] === undefined && headers['baggage'] === undefined
    const parent = isAlone ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, headers)
    if (response === undefined && !httpMethods.has(method)) return context.with(withRemote(parent), run)

    const exchange = new Exchange(request, parent, sinks)
    const inside = trace.setSpan(parent, exchange.span)
    if (response === undefined) return withoutResponse(inside, run, exchange)
    response.once('close', () => exchange.close(response))
    if (request.carriesContext !== true) {
      carryInto(inside, response)
      if (response.req) carryInto(inside, response.req)
    }
    return context.with(inside, run)
  }
}

/** One request from its beginning to its end. */
class Exchange {
  readonly #request: InboundRequest
  readonly #sinks: RequestSinks
  readonly #method: string
  readonly #startedAt: number = performance.now()
  /** One that is not sampled has ids and no more. */
  readonly span: Span

  constructor(request: InboundRequest, parent: Context, sinks: RequestSinks) {
    this.#request = request
    this.#sinks = sinks
    this.#method = httpMethods.has(request.method) ? request.method : '_OTHER'
    const caller = trace.getSpanContext(parent)
    const traceId = caller?.traceId ?? randomIds.generateTraceId()
    const isSampled = sinks.sampler.isSampled(caller, traceId)
    const ids: SpanContext = { traceId, spanId: randomIds.generateSpanId(), traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE }
    if (caller?.traceState !== undefined) ids.traceState = caller.traceState
    this.span = isSampled ? this.#spanOf(ids, caller) : trace.wrapSpanContext(ids)
  }

  #spanOf(ids: SpanContext, caller: SpanContext | undefined): Span {
    const { method, url } = this.#request
    const attributes: Attributes = {
      [ATTR_HTTP_REQUEST_METHOD]: this.#method,
      [ATTR_URL_SCHEME]: schemeOf(this.#request),
      [ATTR_URL_PATH]: pathOf(url),
    }
    if (this.#method !== method) attributes[ATTR_HTTP_REQUEST_METHOD_ORIGINAL] = method
    return new ServerSpan(this.#name, ids, caller, attributes, this.#sinks.resource, this.#sinks.onEnd)
  }

  get #name(): string {
    return this.#method === '_OTHER' ? 'HTTP' : this.#method
  }

  close(response: NonNullable<InboundRequest['response']>): void {
    const status = response.headersSent ? response.statusCode : undefined
    // The connection went before the answer was out.
    if (!response.writableFinished) this.finish(status, 'aborted')
    else this.finish(status, response.statusCode >= 500 ? String(response.statusCode) : undefined)
  }

  finish(status: number | undefined, error: string | undefined): void {
    const seconds = (performance.now() - this.#startedAt) / 1000
    const given = guarded(() => this.#request.route?.())
    const route = typeof given === 'string' ? given : undefined
    const scheme = schemeOf(this.#request)
    const isSampled = this.span.isRecording()
    const { durations } = this.#sinks
    durations.record(
      `${this.#method} ${scheme} ${status} ${error} ${route}`,
      () => ({ [ATTR_HTTP_REQUEST_METHOD]: this.#method, [ATTR_URL_SCHEME]: scheme, ...outcomeOf(status, error, route) }),
      seconds,
      isSampled ? this.span.spanContext() : undefined,
    )
    if (!isSampled) return
    if (route !== undefined) this.span.updateName(`${this.#name} ${route}`)
    this.span.setAttributes(outcomeOf(status, error, route))
    if (error !== undefined) this.span.setStatus({ code: SpanStatusCode.ERROR })
    this.span.end()
  }
}

function outcomeOf(status: number | undefined, error: string | undefined, route: string | undefined): Attributes {
  return {
    ...(status === undefined ? {} : { [ATTR_HTTP_RESPONSE_STATUS_CODE]: status }),
    ...(error === undefined ? {} : { [ATTR_ERROR_TYPE]: error }),
    ...(route === undefined ? {} : { [ATTR_HTTP_ROUTE]: route }),
  }
}

function withRemote(parent: Context): Context {
  const remote = trace.getSpanContext(parent)
  return remote ? trace.setSpanContext(context.active(), remote) : trace.deleteSpan(context.active())
}

function withoutResponse<T>(inside: Context, run: () => T, exchange: Exchange): T {
  const failed = (error: unknown) => exchange.finish(undefined, error instanceof Error ? error.name : '_OTHER')
  const succeeded = () => exchange.finish(undefined, undefined)
  try {
    const result = context.with(inside, run)
    if (result instanceof Promise) {
      result.then(succeeded, failed)
      return result
    }
    if (isThenable(result)) {
      // Asked once: the `then` of a query builder is what runs the query.
      const promise = Promise.resolve(result)
      promise.then(succeeded, failed)
      return promise as T
    }
    succeeded()
    return result
  } catch (error) {
    failed(error)
    throw error
  }
}

/** The path of a request target, which a client that speaks to a proxy sends as a whole URL, credentials and all. */
function pathOf(target: string): string {
  const end = target.search(/[?#]/)
  const path = end < 0 ? target : target.slice(0, end)
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

function schemeOf(request: InboundRequest): 'http' | 'https' {
  const socket = request.response?.req?.socket
  return socket && 'encrypted' in socket && socket.encrypted === true ? 'https' : 'http'
}
