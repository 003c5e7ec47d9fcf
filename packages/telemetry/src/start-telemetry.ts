import { randomUUID } from 'node:crypto'
import { context, metrics, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import { TracerProvider } from '@opentelemetry/sdk-trace'
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION, METRIC_HTTP_SERVER_REQUEST_DURATION } from '@opentelemetry/semantic-conventions'
import { TelemetryError } from './errors.ts'
import { ExemplarReservoir } from './exemplars.ts'
import { type InboundHook, inboundHook } from './inbound.ts'
import { ATTR_OUTCOME, ATTR_SAMPLED, METRIC_EXPORTED_SPANS, METRIC_SPANS, SCOPE } from './instrumentation.ts'
import { resolveOptions, type TelemetryOptions } from './options.ts'
import { otlpSender } from './otlp-sender.ts'
import { contentTypes, formatFor, renderPage } from './prometheus-page.ts'
import { observeRuntime } from './runtime-metrics.ts'
import { CountingSampler } from './sampling.ts'
import { SpanQueue } from './span-queue.ts'
import { requestSeconds, views } from './views.ts'

export interface TelemetryStats {
  /** Sampled spans that the collector took. */
  readonly exported: number
  /** Sampled spans that are lost. */
  readonly dropped: number
  readonly queued: number
  /** Traces begun in this process. */
  readonly traces: { readonly sampled: number; readonly unsampled: number }
}

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
  const { service, version, instance, ratio, otlpUrl, shutdownTimeoutMs, logger } = resolveOptions(options)
  const resource = resourceFromAttributes({
    [ATTR_SERVICE_NAME]: service,
    ...(version === undefined ? {} : { [ATTR_SERVICE_VERSION]: version }),
    'service.instance.id': instance ?? randomUUID(),
  })
  const sampler = new CountingSampler(ratio)
  const queue = otlpUrl && new SpanQueue(otlpSender(otlpUrl), logger)
  const tracers = new TracerProvider({ resource, sampler, spanProcessors: queue ? [queue] : [] })
  const reader = new PullReader()
  const meters = new MeterProvider({ resource, readers: [reader], views: views() })
  const exemplars = new ExemplarReservoir(requestSeconds)
  register(tracers, meters)
  const unobserveRuntime = observeRuntime(meters)
  observeSpans()
  let closing: Promise<void> | undefined

  function stats(): TelemetryStats {
    return { ...(queue?.stats() ?? { exported: 0, dropped: 0, queued: 0 }), traces: { ...sampler.counts } }
  }

  function observeSpans(): void {
    const meter = meters.getMeter(SCOPE)
    meter
      .createObservableCounter(METRIC_SPANS, { description: 'Traces begun here, by the decision of the sampler' })
      .addCallback((result) => {
        result.observe(sampler.counts.sampled, { [ATTR_SAMPLED]: 'true' })
        result.observe(sampler.counts.unsampled, { [ATTR_SAMPLED]: 'false' })
      })
    if (!queue) return
    meter.createObservableCounter(METRIC_EXPORTED_SPANS, { description: 'Sampled spans, by what became of them' }).addCallback((result) => {
      const { exported, dropped } = queue.stats()
      result.observe(exported, { [ATTR_OUTCOME]: 'exported' })
      result.observe(dropped, { [ATTR_OUTCOME]: 'dropped' })
    })
  }

  async function close(timeoutMs: number): Promise<void> {
    await queue?.close(timeoutMs)
    unobserveRuntime()
    await meters.shutdown()
    unregister()
    const { exported, dropped } = stats()
    if (dropped > 0) logger?.warn({ exported, dropped }, 'spans were lost')
  }

  return {
    async metrics(request) {
      if (closing) throw new TelemetryError('ERR_TELEMETRY_CLOSED', 'telemetry was closed')
      const accept = request.headers['accept']
      const format = formatFor(Array.isArray(accept) ? accept.join() : accept)
      const { resourceMetrics, errors } = await reader.collect()
      for (const err of errors) logger?.warn({ err }, 'a metric could not be read')
      const body = renderPage(resourceMetrics, format, (metric, attributes, bucket) =>
        metric === METRIC_HTTP_SERVER_REQUEST_DURATION ? exemplars.find(attributes, bucket) : undefined,
      )
      return { contentType: contentTypes[format], body }
    },
    inbound: inboundHook(tracers.getTracer(SCOPE), meters, exemplars),
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

function register(tracers: TracerProvider, meters: MeterProvider): void {
  const manager = new AsyncLocalStorageContextManager().enable()
  const taken = !trace.setGlobalTracerProvider(tracers)
  if (taken) {
    manager.disable()
    throw new TelemetryError('ERR_TELEMETRY_ALREADY_STARTED', 'an OpenTelemetry SDK is registered in this process already')
  }
  metrics.setGlobalMeterProvider(meters)
  context.setGlobalContextManager(manager)
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
}

function unregister(): void {
  trace.disable()
  metrics.disable()
  context.disable()
  propagation.disable()
}
