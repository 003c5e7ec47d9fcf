import { randomUUID } from 'node:crypto'
import { context, propagation } from '@opentelemetry/api'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import {
  ATTR_SERVICE_NAME,
  ATTR_SERVICE_VERSION,
  METRIC_HTTP_CLIENT_REQUEST_DURATION,
  METRIC_HTTP_SERVER_REQUEST_DURATION,
} from '@opentelemetry/semantic-conventions'
import { guarded } from '@platform/kernel'
import { cleanAttributes } from './clean-span.ts'
import { TelemetryError } from './errors.ts'
import { ExemplarMeter } from './durations.ts'
import { takeGlobals } from './globals.ts'
import { observeHttpClient } from './http-client.ts'
import { type InboundHook, inboundHook } from './inbound.ts'
import { observeExports, SCOPE } from './instrumentation.ts'
import { type SamplingReason, UnsampledTraces } from './local-trace.ts'
import { resolveOptions, type TelemetryOptions } from './options.ts'
import type { ExportStats } from './export-queue.ts'
import { LogQueue } from './log-queue.ts'
import { otlpSender } from './otlp-sender.ts'
import { MetricsPage } from './metrics-page.ts'
import { contentTypes, formatFor } from './prometheus-page.ts'
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
  const giveBack = takeGlobals(tracing, meters, resolved.baggage)
  const records = logs && new LogQueue(otlpSender(logs), logger, attributes)
  const unobserveRuntime = observeRuntime(meters)
  const unobserveClient = resolved.httpClient ? observeHttpClient(tracing.getTracer(SCOPE), calls) : undefined
  observeExports(meters, { sampler, spans: queue, unsampled, logs: records })
  const page = new MetricsPage(reader, measured, logger)
  let closing: Promise<void> | undefined

  function stats(): TelemetryStats {
    const upgraded = { ...(unsampled?.counts ?? { error: 0, slow: 0 }) }
    return { ...(queue?.stats() ?? nothing), traces: { ...sampler.counts }, upgraded, logs: records?.stats() ?? nothing }
  }

  async function close(timeoutMs: number): Promise<void> {
    await Promise.all([queue?.close(timeoutMs), records?.close(timeoutMs)])
    unobserveClient?.()
    unobserveRuntime()
    await meters.shutdown()
    giveBack()
    const { exported, dropped } = stats()
    if (dropped > 0) guarded(() => logger?.warn({ exported, dropped }, 'spans were lost'))
  }

  return {
    async metrics(request) {
      if (closing) throw new TelemetryError('ERR_TELEMETRY_CLOSED', 'telemetry was closed')
      const accept = request.headers['accept']
      const format = formatFor(Array.isArray(accept) ? accept.join() : accept)
      return { contentType: contentTypes[format], body: await page.text(format) }
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
