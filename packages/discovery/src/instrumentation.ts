import {
  type Attributes,
  type Counter,
  type Histogram,
  type MeterProvider,
  metrics,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { Instance } from './registry.ts'

/** https://opentelemetry.io/docs/specs/semconv/http/ */
export const SCOPE = '@platform/discovery'
export const METRIC_REQUEST_DURATION = 'http.client.request.duration'
export const METRIC_EJECTIONS = 'platform.discovery.ejections'
export const METRIC_WATCH_FAILURES = 'platform.discovery.watch.failures'
export const METRIC_EVENTS = 'platform.discovery.events'
export const METRIC_DNS_ANSWERS = 'platform.discovery.dns.answers'

const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

interface Instruments {
  readonly provider: MeterProvider
  readonly duration: Histogram
  readonly ejections: Counter
  readonly watchFailures: Counter
  readonly events: Counter
  readonly dnsAnswers: Counter
}

let current: Instruments | undefined

/** The API hands out dead instruments until an SDK registers, so a new provider means new instruments. */
export function instruments(): Instruments {
  const provider = metrics.getMeterProvider()
  if (current?.provider !== provider) {
    const meter = provider.getMeter(SCOPE)
    current = {
      provider,
      duration: meter.createHistogram(METRIC_REQUEST_DURATION, { unit: 's', advice: { explicitBucketBoundaries: durationBuckets } }),
      ejections: meter.createCounter(METRIC_EJECTIONS, { unit: '{ejection}', description: 'Instances left out after failures' }),
      watchFailures: meter.createCounter(METRIC_WATCH_FAILURES, { unit: '{read}', description: 'Reads of a registry that failed' }),
      events: meter.createCounter(METRIC_EVENTS, { unit: '{event}', description: 'Changes of instances and registries by their type' }),
      dnsAnswers: meter.createCounter(METRIC_DNS_ANSWERS, { unit: '{answer}', description: 'Answers of the DNS responder by their code' }),
    }
  }
  return current
}

/** One attempt as a CLIENT span and one sample of the duration. */
export class RequestTelemetry {
  readonly span: Span
  readonly #attributes: Attributes

  constructor(method: string, url: string, instance: Instance, attempt: number) {
    this.#attributes = { 'http.request.method': method, 'server.address': instance.address, 'server.port': instance.port }
    this.span = trace.getTracer(SCOPE).startSpan(method, { kind: SpanKind.CLIENT, attributes: this.#attributes })
    if (!this.span.isRecording()) return
    // The query may carry user data.
    this.span.setAttribute('url.full', url.split('?', 1)[0]!)
    if (attempt > 1) this.span.setAttribute('http.request.resend_count', attempt - 1)
  }

  answered(status: number, elapsedMs: number): void {
    this.#end({ 'http.response.status_code': status, ...(status >= 400 ? { 'error.type': String(status) } : {}) }, status >= 400, elapsedMs)
  }

  failed(error: unknown, elapsedMs: number): void {
    this.#end({ 'error.type': errorType(error) }, true, elapsedMs)
  }

  #end(result: Attributes, error: boolean, elapsedMs: number): void {
    this.span.setAttributes(result)
    if (error) this.span.setStatus({ code: SpanStatusCode.ERROR })
    this.span.end()
    instruments().duration.record(elapsedMs / 1000, { ...this.#attributes, ...result })
  }
}

function errorType(error: unknown): string {
  const { code, cause, name } = (error ?? {}) as { code?: unknown; cause?: { code?: unknown }; name?: unknown }
  for (const candidate of [cause?.code, code, name]) if (typeof candidate === 'string') return candidate
  return '_OTHER'
}
