/** What an application with an OpenTelemetry SDK of its own sees: the scopes of its spans and of its metrics. */
import { metrics, trace } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'

export function recorder() {
  const spans = new InMemorySpanExporter()
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }))
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))
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
