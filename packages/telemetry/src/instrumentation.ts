import type { MeterProvider, ObservableResult } from '@opentelemetry/api'
import type { ExportStats } from './export-queue.ts'
import type { SamplingReason } from './local-trace.ts'

/** Names of https://opentelemetry.io/docs/specs/semconv/ that are not in the stable part of the package, and our own. */
export const SCOPE = '@platform/telemetry'

/** Traces begun in this process, by the decision of the sampler: the sampled share is `true / (true + false)`. */
export const METRIC_SPANS = 'platform.telemetry.spans'
export const ATTR_SAMPLED = 'sampled'
/** Sampled spans by what became of them. */
export const METRIC_EXPORTED_SPANS = 'platform.telemetry.exported.spans'
/** Unsampled traces of which the part done here was exported all the same, by why. */
export const METRIC_UPGRADED_TRACES = 'platform.telemetry.upgraded.traces'
/** On those spans, too: `error` or `slow`. */
export const ATTR_SAMPLING_REASON = 'sampling.reason'
/** Lines of `@platform/logger` by what became of them. */
export const METRIC_EXPORTED_LOGS = 'platform.telemetry.exported.logs'
export const ATTR_OUTCOME = 'outcome'

export const METRIC_EVENTLOOP_DELAY = 'nodejs.eventloop.delay'
export const METRIC_EVENTLOOP_UTILIZATION = 'nodejs.eventloop.utilization'
export const METRIC_HEAP_USED = 'v8js.memory.heap.used'
export const ATTR_HEAP_SPACE = 'v8js.heap.space.name'
export const METRIC_GC_DURATION = 'v8js.gc.duration'
export const ATTR_GC_TYPE = 'v8js.gc.type'
export const METRIC_CPU_TIME = 'process.cpu.time'
export const ATTR_CPU_MODE = 'cpu.mode'
export const METRIC_MEMORY_USAGE = 'process.memory.usage'
export const METRIC_UPTIME = 'process.uptime'

type Exports = { stats(): ExportStats } | undefined

interface Observed {
  readonly sampler: { readonly counts: { readonly sampled: number; readonly unsampled: number } }
  readonly spans: Exports
  readonly unsampled: { readonly counts: Readonly<Record<SamplingReason, number>> } | undefined
  readonly logs: Exports
}

/** What this package says of its own work. What is not exported has no series. */
export function observeExports(meters: MeterProvider, { sampler, spans, unsampled, logs }: Observed): void {
  const meter = meters.getMeter(SCOPE)
  const outcomes = (exports: { stats(): ExportStats }) => (result: ObservableResult) => {
    const { exported, dropped } = exports.stats()
    result.observe(exported, { [ATTR_OUTCOME]: 'exported' })
    result.observe(dropped, { [ATTR_OUTCOME]: 'dropped' })
  }
  meter
    .createObservableCounter(METRIC_SPANS, { description: 'Traces begun here, by the decision of the sampler' })
    .addCallback((result) => {
      result.observe(sampler.counts.sampled, { [ATTR_SAMPLED]: 'true' })
      result.observe(sampler.counts.unsampled, { [ATTR_SAMPLED]: 'false' })
    })
  if (unsampled)
    meter
      .createObservableCounter(METRIC_UPGRADED_TRACES, { description: 'Unsampled traces of which the part done here was exported' })
      .addCallback((result) => {
        for (const [reason, count] of Object.entries(unsampled.counts)) result.observe(count, { [ATTR_SAMPLING_REASON]: reason })
      })
  if (spans)
    meter
      .createObservableCounter(METRIC_EXPORTED_SPANS, { description: 'Spans to be exported, by what became of them' })
      .addCallback(outcomes(spans))
  if (logs)
    meter.createObservableCounter(METRIC_EXPORTED_LOGS, { description: 'Log lines, by what became of them' }).addCallback(outcomes(logs))
}
