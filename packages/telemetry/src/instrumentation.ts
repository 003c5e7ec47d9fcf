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
