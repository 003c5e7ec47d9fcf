import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import {
  type Attributes,
  context,
  propagation,
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
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
  ATTR_URL_FULL,
} from '@opentelemetry/semantic-conventions'
import { guarded } from '@platform/kernel'
import type { Durations } from './durations.ts'
import { httpMethods } from './inbound.ts'

/** What undici tells of a request. */
interface ClientRequest {
  readonly origin: string | URL
  readonly method: string
  readonly path: string
  /** Names and values in turn, or, of old, as one text. */
  readonly headers: string | readonly unknown[]
  addHeader(name: string, value: string): unknown
}

interface Call {
  readonly span: Span | undefined
  readonly startedAt: number
  readonly method: string
  readonly address: string
  readonly port: number
  status: number | undefined
}

/**
 * Requests of undici, and so of `fetch`, in the channels that it publishes itself: nothing is patched, and every installed copy is seen. A request
 * that carries a `traceparent` already is left alone: who put it there measures it. A span is made below another one only; work in the background
 * that asks again and again would be nothing but noise. Returns what ends it.
 */
export function observeHttpClient(tracer: Tracer, durations: Durations): () => void {
  const calls = new WeakMap<object, Call>()

  function created({ request }: { request: ClientRequest }): void {
    if (carriesTrace(request.headers)) return
    const url = URL.parse(String(request.origin))
    if (url === null) return
    const method = httpMethods.has(request.method) ? request.method : '_OTHER'
    const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
    const call: Call = { method, address: url.hostname, port, startedAt: performance.now(), status: undefined, span: spanOf(method) }
    calls.set(request, call)
    if (call.span?.isRecording() === true) {
      // The query may carry data of users.
      call.span.setAttributes({ ...factsOf(call), [ATTR_URL_FULL]: `${url.origin}${request.path.split('?', 1)[0]}` })
    }
    const headers: Record<string, string> = {}
    propagation.inject(call.span === undefined ? context.active() : trace.setSpan(context.active(), call.span), headers)
    for (const [name, value] of Object.entries(headers)) request.addHeader(name, value)
  }

  function spanOf(method: string): Span | undefined {
    return trace.getActiveSpan() === undefined ? undefined : tracer.startSpan(method, { kind: SpanKind.CLIENT })
  }

  function answered({ request, response }: { request: object; response: { statusCode: number } }): void {
    const call = calls.get(request)
    if (call !== undefined) call.status = response.statusCode
  }

  function ended({ request, error: thrown }: { request: object; error?: unknown }): void {
    const call = calls.get(request)
    if (call === undefined) return
    calls.delete(request)
    const { span, status } = call
    const isRefused = status !== undefined && status >= 400
    const error = thrown === undefined ? (isRefused ? String(status) : undefined) : nameOf(thrown)
    const outcome: Attributes = {
      ...(status === undefined ? {} : { [ATTR_HTTP_RESPONSE_STATUS_CODE]: status }),
      ...(error === undefined ? {} : { [ATTR_ERROR_TYPE]: error }),
    }
    const isSampled = span !== undefined && (span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0
    durations.record(
      [call.address, call.port, call.method, status, error],
      () => ({ ...factsOf(call), ...outcome }),
      (performance.now() - call.startedAt) / 1_000,
      isSampled ? span.spanContext() : undefined,
    )
    if (span === undefined) return
    span.setAttributes(outcome)
    if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }

  const listeners = Object.entries({
    'undici:request:create': created,
    'undici:request:headers': answered,
    'undici:request:trailers': ended,
    'undici:request:error': ended,
    // What a listener throws would end the process.
  }).map(([name, listener]) => [name, (message: unknown): void => guarded(() => listener(message as never))] as const)
  for (const [name, listener] of listeners) subscribe(name, listener)
  return () => {
    for (const [name, listener] of listeners) unsubscribe(name, listener)
  }
}

function factsOf({ method, address, port }: Call): Attributes {
  return { [ATTR_HTTP_REQUEST_METHOD]: method, [ATTR_SERVER_ADDRESS]: address, [ATTR_SERVER_PORT]: port }
}

function carriesTrace(headers: ClientRequest['headers']): boolean {
  if (typeof headers === 'string') return /^traceparent:/im.test(headers)
  return headers.some((name, index) => index % 2 === 0 && String(name).toLowerCase() === 'traceparent')
}

function nameOf(error: unknown): string {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : '_OTHER'
}
