import type { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
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
import { guarded } from '@platform/kernel'
import type { Durations } from './durations.ts'
import { SCOPE } from './instrumentation.ts'
import { RecordedSpan } from './recorded-span.ts'
import { SpanContextOnly } from './span-context.ts'
import type { Tracing } from './tracing.ts'

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

const scope = { name: SCOPE }

/**
 * HTTP: a server span below the caller's `traceparent`, and one duration. Anything else that enters with headers (a message): the caller's
 * trace becomes the current one, and whoever handles it makes its own span.
 */
export function inboundHook(tracing: Tracing, durations: Durations): InboundHook {
  return (request, run) => {
    const { method, headers, response } = request
    const isAlone = headers['traceparent'] === undefined && headers['baggage'] === undefined
    const parent = isAlone ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, headers)
    if (response === undefined && !httpMethods.has(method)) return context.with(withRemote(parent), run)

    const exchange = new Exchange(request, tracing, parent, durations)
    const inside = isAlone ? new SpanContextOnly(exchange.span) : trace.setSpan(parent, exchange.span)
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
  readonly #durations: Durations
  readonly #method: string
  readonly #startedAt: number = performance.now()
  readonly span: Span

  constructor(request: InboundRequest, tracing: Tracing, parent: Context, durations: Durations) {
    this.#request = request
    this.#durations = durations
    this.#method = httpMethods.has(request.method) ? request.method : '_OTHER'
    this.span = tracing.begin({ name: this.#name, kind: SpanKind.SERVER, scope }, trace.getSpan(parent))
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
    const factsOf = () => ({
      [ATTR_HTTP_REQUEST_METHOD]: this.#method,
      [ATTR_URL_SCHEME]: scheme,
      ...outcomeOf(status, error, route),
    })
    const { span } = this
    if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR })
    // Most spans are forgotten here, and nothing was written on them.
    const kept = span instanceof RecordedSpan && span.sink.keeps(span) ? span : undefined
    this.#durations.record([route, this.#method, scheme, status, error], factsOf, seconds, kept?.spanContext())
    if (kept !== undefined) {
      if (route !== undefined) kept.updateName(`${this.#name} ${route}`)
      kept.describe({ ...factsOf(), ...targetOf(this.#request, this.#method) })
    }
    span.end()
  }
}

function targetOf({ method, url }: InboundRequest, known: string): Attributes {
  return { [ATTR_URL_PATH]: pathOf(url), ...(known === method ? {} : { [ATTR_HTTP_REQUEST_METHOD_ORIGINAL]: method }) }
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
