import {
  type Context,
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  type Span,
  type SpanContext,
  SpanKind,
  type SpanOptions,
  trace,
  TraceFlags,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api'
import { isTracingSuppressed } from '@opentelemetry/core'
import type { Resource } from '@opentelemetry/resources'
import { LocalTrace, type UnsampledTraces } from './local-trace.ts'
import { randomIds } from './random-ids.ts'
import { RecordedSpan, type SpanSink, type SpanStart } from './recorded-span.ts'
import type { CountingSampler } from './sampling.ts'

export interface TracingOptions {
  readonly resource: Resource
  readonly sampler: CountingSampler
  /** Takes the sampled spans. */
  readonly sampled: SpanSink
  /** Holds the others until it is clear whether they matter; undefined: they are ids and no more. */
  readonly unsampled: UnsampledTraces | undefined
}

/** Makes every span of this process: those of requests, and those of libraries, which ask OpenTelemetry's API for a tracer. */
export class Tracing implements TracerProvider {
  readonly #options: TracingOptions

  constructor(options: TracingOptions) {
    this.#options = options
  }

  getTracer(name: string, version?: string, options?: { schemaUrl?: string }): Tracer {
    const { schemaUrl } = options ?? {}
    return new LibraryTracer(this, {
      name,
      ...(version === undefined ? {} : { version }),
      ...(schemaUrl === undefined ? {} : { schemaUrl }),
    })
  }

  /** A span below another, of this process or of a caller. One that nobody could ever want to see has ids and no more. */
  begin(start: SpanStart, above: Span | undefined): Span {
    const { sampler, sampled, resource } = this.#options
    const parent = parentContext(above)
    const traceId = parent?.traceId ?? randomIds.generateTraceId()
    const isSampled = sampler.isSampled(parent, traceId)
    const ids: SpanContext = { traceId, spanId: randomIds.generateSpanId(), traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE }
    if (parent?.traceState !== undefined) ids.traceState = parent.traceState
    const sink = isSampled ? sampled : this.#localTrace(above, ids.spanId)
    if (sink === undefined) return trace.wrapSpanContext(ids)
    return new RecordedSpan(start, { context: ids, parent, resource, sink })
  }

  #localTrace(above: Span | undefined, spanId: string): LocalTrace | undefined {
    const { unsampled } = this.#options
    if (unsampled === undefined) return undefined
    if (!(above instanceof RecordedSpan) || !(above.sink instanceof LocalTrace)) return unsampled.begin(spanId)
    return above.sink.isForgotten ? undefined : above.sink
  }
}

function parentContext(above: Span | undefined): SpanContext | undefined {
  if (above instanceof RecordedSpan) return above.spanContext()
  const parent = above?.spanContext()
  return parent !== undefined && isSpanContextValid(parent) ? parent : undefined
}

class LibraryTracer implements Tracer {
  readonly #tracing: Tracing
  readonly #scope: SpanStart['scope']

  constructor(tracing: Tracing, scope: SpanStart['scope']) {
    this.#tracing = tracing
    this.#scope = scope
  }

  startSpan(name: string, options: SpanOptions = {}, within: Context = context.active()): Span {
    if (isTracingSuppressed(within)) return trace.wrapSpanContext(INVALID_SPAN_CONTEXT)
    const { kind = SpanKind.INTERNAL, attributes, links, startTime, root } = options
    const span = this.#tracing.begin({ name, kind, scope: this.#scope, startTime }, root === true ? undefined : trace.getSpan(within))
    if (attributes !== undefined) span.setAttributes(attributes)
    if (links !== undefined) span.addLinks(links)
    return span
  }

  startActiveSpan<F extends (span: Span) => unknown>(name: string, fn: F): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(name: string, options: SpanOptions, fn: F): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(name: string, options: SpanOptions, within: Context, fn: F): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(name: string, ...rest: [...(SpanOptions | Context | undefined)[], F]): ReturnType<F> {
    const fn = rest.at(-1) as F
    const [options, given] = rest.slice(0, -1) as [SpanOptions?, Context?]
    const within = given ?? context.active()
    const span = this.startSpan(name, options ?? {}, within)
    return context.with(trace.setSpan(within, span), fn as (span: Span) => ReturnType<F>, undefined, span)
  }
}
