/** What an application with an OpenTelemetry SDK of its own sees: the scopes of its spans and of its metrics. */
import { metrics, trace } from '@opentelemetry/api'
import * as sdkMetrics from '@opentelemetry/sdk-metrics'
import * as sdkTrace from '@opentelemetry/sdk-trace-base'

/** Of a CommonJS module Node does not see every name. */
const whole = (module) => ({ ...module, ...module.default })

const { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } = whole(sdkMetrics)
const { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = whole(sdkTrace)

export function recorder() {
  const spans = new InMemorySpanExporter()
  const processor = new SimpleSpanProcessor(spans)
  const tracers = new BasicTracerProvider({ spanProcessors: [processor] })
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const meters = new MeterProvider({ readers: [reader] })
  // The first SDKs take them afterwards.
  tracers.addSpanProcessor?.(processor)
  meters.addMetricReader?.(reader)
  trace.setGlobalTracerProvider(tracers)
  metrics.setGlobalMeterProvider(meters)
  const seen = { spans: new Set(), metrics: new Set() }
  return {
    async collect() {
      await reader.forceFlush()
      for (const span of spans.getFinishedSpans()) seen.spans.add((span.instrumentationScope ?? span.instrumentationLibrary).name)
      for (const { scopeMetrics } of exporter.getMetrics()) for (const { scope } of scopeMetrics) seen.metrics.add(scope.name)
      return seen
    },
    close: () => reader.shutdown(),
  }
}
