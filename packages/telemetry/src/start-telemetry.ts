import { randomUUID } from 'node:crypto'
import { context, metrics, type ObservableResult, propagation, trace, type TracerProvider } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { CompositePropagator, W3CTraceContextPropagator } from '@opentelemetry/core'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import {
  ATTR_SERVICE_NAME,
  ATTR_SERVICE_VERSION,
  METRIC_HTTP_CLIENT_REQUEST_DURATION,
  METRIC_HTTP_SERVER_REQUEST_DURATION,
} from '@opentelemetry/semantic-conventions'
import { guarded } from '@platform/kernel'
import { AllowedBaggage } from './baggage.ts'
import { cleanAttributes } from './clean-span.ts'
import { TelemetryError } from './errors.ts'
import { ExemplarMeter } from './durations.ts'
import { observeHttpClient } from './http-client.ts'
import { type InboundHook, inboundHook } from './inbound.ts'
import {
  ATTR_OUTCOME,
  ATTR_SAMPLED,
  ATTR_SAMPLING_REASON,
  METRIC_EXPORTED_LOGS,
  METRIC_EXPORTED_SPANS,
  METRIC_SPANS,
  METRIC_UPGRADED_TRACES,
  SCOPE,
} from './instrumentation.ts'
import { type SamplingReason, UnsampledTraces } from './local-trace.ts'
import { resolveOptions, type TelemetryOptions } from './options.ts'
import type { ExportStats } from './export-queue.ts'
import { LogQueue } from './log-queue.ts'
import { otlpSender } from './otlp-sender.ts'
import { contentTypes, type Format, formatFor, overflowing, renderPage } from './prometheus-page.ts'
import type { SpanSink } from './recorded-span.ts'
import { observeRuntime } from './runtime-metrics.ts'
import { CountingSampler } from './sampling.ts'
import { SpanQueue } from './span-queue.ts'
import { Tracing } from './tracing.ts'
import { requestSeconds, views } from './views.ts'

export interface TelemetryStats {
  /** Spans, sampled or upgraded, that the collector took. */
  readonly exported: number
  /** Such spans that are lost. */
  readonly dropped: number
  readonly queued: number
  /** Traces begun in this process. */
  readonly traces: { readonly sampled: number; readonly unsampled: number }
  /** Unsampled traces of which the part done here was exported all the same, by why. */
  readonly upgraded: Readonly<Record<SamplingReason, number>>
  /** Lines of `@platform/logger` on their way to a collector. */
  readonly logs: ExportStats
}

const nothing: ExportStats = { exported: 0, dropped: 0, queued: 0 }
/** Where spans go that no collector takes: they carry ids and exemplars. */
const nowhere: SpanSink = { keeps: () => true, ended() {} }

export interface Telemetry {
  /** Prometheus or OpenMetrics text, by the Accept header; mount it anywhere. */
  metrics(request: { headers: Record<string, string | string[] | undefined> }): Promise<{ contentType: string; body: string }>
  /** A server span and a duration for every HTTP request; the caller's trace for everything else. */
  readonly inbound: InboundHook
  /** Adds `traceparent` and `tracestate` of the current span. */
  readonly outbound: (headers: Record<string, string>) => void
  stats(): TelemetryStats
  /** Sends what is queued within `min(timeoutMs, shutdownTimeoutMs)`, gives the globals back; what was lost stands in stats() and the log. */
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

class PullReader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}
}

/** Registers the OpenTelemetry globals of this process. Call it before the objects that measure are created: the API has no late binding for metrics. */
export function startTelemetry(options: TelemetryOptions): Telemetry {
  const resolved = resolveOptions(options)
  const { service, version, instance, ratio, errors, latencyThresholdMs, traces, logs, redactor, shutdownTimeoutMs, logger } = resolved
  const identity = {
    'service.instance.id': randomUUID(),
    ...resolved.attributes,
    [ATTR_SERVICE_NAME]: service,
    ...(version === undefined ? {} : { [ATTR_SERVICE_VERSION]: version }),
    ...(instance === undefined ? {} : { 'service.instance.id': instance }),
  }
  const attributes = cleanAttributes(identity, redactor)
  const resource = resourceFromAttributes(attributes)
  const sampler = new CountingSampler(ratio)
  const queue = traces && new SpanQueue(otlpSender(traces), logger, redactor)
  const isUpgrading = errors || latencyThresholdMs !== undefined
  const unsampled = queue && isUpgrading ? new UnsampledTraces({ errors, latencyThresholdMs, exporter: queue }) : undefined
  const tracing = new Tracing({ resource, sampler, sampled: queue ?? nowhere, unsampled })
  const measured = new ExemplarMeter()
  const durations = measured.createHistogram(METRIC_HTTP_SERVER_REQUEST_DURATION, {
    unit: 's',
    description: 'Duration of HTTP server requests.',
    boundaries: requestSeconds,
  })
  const calls = measured.createHistogram(METRIC_HTTP_CLIENT_REQUEST_DURATION, {
    unit: 's',
    description: 'Duration of HTTP client requests.',
    boundaries: requestSeconds,
  })
  const reader = new PullReader({ metricProducers: [measured] })
  const meters = new MeterProvider({ resource, readers: [reader], views: views() })
  const unregister = register(tracing, meters, resolved.baggage)
  const records = logs && new LogQueue(otlpSender(logs), logger, attributes)
  const unobserveRuntime = observeRuntime(meters)
  const unobserveClient = resolved.httpClient ? observeHttpClient(tracing.getTracer(SCOPE), calls) : undefined
  const upgraded = unsampled?.counts ?? { error: 0, slow: 0 }
  observeSpans()
  let closing: Promise<void> | undefined

  function stats(): TelemetryStats {
    return { ...(queue?.stats() ?? nothing), traces: { ...sampler.counts }, upgraded: { ...upgraded }, logs: records?.stats() ?? nothing }
  }

  function observeSpans(): void {
    const meter = meters.getMeter(SCOPE)
    meter
      .createObservableCounter(METRIC_SPANS, { description: 'Traces begun here, by the decision of the sampler' })
      .addCallback((result) => {
        result.observe(sampler.counts.sampled, { [ATTR_SAMPLED]: 'true' })
        result.observe(sampler.counts.unsampled, { [ATTR_SAMPLED]: 'false' })
      })
    const observe = (exports: { stats(): ExportStats }) => (result: ObservableResult) => {
      const { exported, dropped } = exports.stats()
      result.observe(exported, { [ATTR_OUTCOME]: 'exported' })
      result.observe(dropped, { [ATTR_OUTCOME]: 'dropped' })
    }
    if (unsampled)
      meter
        .createObservableCounter(METRIC_UPGRADED_TRACES, { description: 'Unsampled traces of which the part done here was exported' })
        .addCallback((result) => {
          for (const [reason, count] of Object.entries(upgraded)) result.observe(count, { [ATTR_SAMPLING_REASON]: reason })
        })
    if (queue)
      meter
        .createObservableCounter(METRIC_EXPORTED_SPANS, { description: 'Spans to be exported, by what became of them' })
        .addCallback(observe(queue))
    if (records)
      meter
        .createObservableCounter(METRIC_EXPORTED_LOGS, { description: 'Log lines, by what became of them' })
        .addCallback(observe(records))
  }

  // Scrapers that come at once share one page.
  const pages = new Map<Format, Promise<string>>()
  const toldOverflows = new Set<string>()

  function page(format: Format): Promise<string> {
    let rendering = pages.get(format)
    if (rendering === undefined) {
      rendering = renderNow(format).finally(() => pages.delete(format))
      pages.set(format, rendering)
    }
    return rendering
  }

  async function renderNow(format: Format): Promise<string> {
    const { resourceMetrics, errors } = await reader.collect()
    for (const err of errors) guarded(() => logger?.warn({ err }, 'a metric could not be read'))
    for (const metric of overflowing(resourceMetrics)) {
      if (toldOverflows.has(metric)) continue
      toldOverflows.add(metric)
      guarded(() =>
        logger?.warn({ metric }, 'a metric has more series than are kept: the rest is counted together as otel_metric_overflow'),
      )
    }
    return renderPage(resourceMetrics, format, (metric, series, bucket) => measured.exemplar(metric, series, bucket))
  }

  async function close(timeoutMs: number): Promise<void> {
    await Promise.all([queue?.close(timeoutMs), records?.close(timeoutMs)])
    unobserveClient?.()
    unobserveRuntime()
    await meters.shutdown()
    unregister()
    const { exported, dropped } = stats()
    if (dropped > 0) guarded(() => logger?.warn({ exported, dropped }, 'spans were lost'))
  }

  return {
    async metrics(request) {
      if (closing) throw new TelemetryError('ERR_TELEMETRY_CLOSED', 'telemetry was closed')
      const accept = request.headers['accept']
      const format = formatFor(Array.isArray(accept) ? accept.join() : accept)
      return { contentType: contentTypes[format], body: await page(format) }
    },
    inbound: inboundHook(tracing, durations),
    outbound: (headers) => propagation.inject(context.active(), headers),
    stats,
    close({ timeoutMs = shutdownTimeoutMs } = {}) {
      closing ??= close(Math.min(timeoutMs, shutdownTimeoutMs))
      return closing
    },
    [Symbol.asyncDispose]() {
      return this.close()
    },
  }
}

/** Takes all four globals of OpenTelemetry or none; returns what gives them back, each only while it is still ours. */
function register(tracers: TracerProvider, meters: MeterProvider, baggage: readonly string[]): () => void {
  const manager = new AsyncLocalStorageContextManager().enable()
  const propagator = new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new AllowedBaggage(baggage)] })
  const globals: { take(): boolean; giveBack(): void }[] = [
    {
      take: () => trace.setGlobalTracerProvider(tracers),
      giveBack: () => (trace.getTracerProvider() as { getDelegate?(): unknown }).getDelegate?.() === tracers && trace.disable(),
    },
    {
      take: () => metrics.setGlobalMeterProvider(meters),
      giveBack: () => metrics.getMeterProvider() === meters && metrics.disable(),
    },
    { take: () => context.setGlobalContextManager(manager), giveBack: () => context.disable() },
    { take: () => propagation.setGlobalPropagator(propagator), giveBack: () => propagation.disable() },
  ]
  const taken: (typeof globals)[number][] = []
  for (const each of globals) {
    if (each.take()) {
      taken.push(each)
      continue
    }
    for (const { giveBack } of taken.toReversed()) giveBack()
    manager.disable()
    throw new TelemetryError(
      'ERR_TELEMETRY_ALREADY_STARTED',
      'an OpenTelemetry SDK, or a part of one, is registered in this process already; register none, or leave this one out',
    )
  }
  return () => {
    for (const { giveBack } of taken.toReversed()) giveBack()
  }
}
