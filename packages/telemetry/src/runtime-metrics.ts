import { constants, monitorEventLoopDelay, performance, PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import type { BatchObservableResult, Histogram, MeterProvider, Observable } from '@opentelemetry/api'
import {
  ATTR_CPU_MODE,
  ATTR_GC_TYPE,
  ATTR_HEAP_SPACE,
  METRIC_CPU_TIME,
  METRIC_EVENTLOOP_DELAY,
  METRIC_EVENTLOOP_UTILIZATION,
  METRIC_GC_DURATION,
  METRIC_HEAP_USED,
  METRIC_MEMORY_USAGE,
  METRIC_UPTIME,
  SCOPE,
} from './instrumentation.ts'

const nanoseconds = 1e-9
const microseconds = 1e-6

/** Event loop, heap and process, read when the page is asked for. Delay and utilisation are of the time since the page before. */
export function observeRuntime(meters: MeterProvider): () => void {
  const meter = meters.getMeter(SCOPE)
  const delays = monitorEventLoopDelay({ resolution: 10 })
  delays.enable()
  let utilization = performance.eventLoopUtilization()

  const delay = (what: string) =>
    meter.createObservableGauge(`${METRIC_EVENTLOOP_DELAY}.${what}`, { unit: 's', description: `Event loop delay, ${what}` })
  const [min, max, mean, stddev, p50, p90, p99] = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(delay) as [
    Observable,
    Observable,
    Observable,
    Observable,
    Observable,
    Observable,
    Observable,
  ]
  const utilized = meter.createObservableGauge(METRIC_EVENTLOOP_UTILIZATION, {
    unit: '1',
    description: 'Share of the time the event loop was busy',
  })
  const heap = meter.createObservableUpDownCounter(METRIC_HEAP_USED, { unit: 'By', description: 'Heap in use, by space' })
  const memory = meter.createObservableUpDownCounter(METRIC_MEMORY_USAGE, { unit: 'By', description: 'Resident set size' })
  const cpu = meter.createObservableCounter(METRIC_CPU_TIME, { unit: 's', description: 'CPU time used' })
  const uptime = meter.createObservableGauge(METRIC_UPTIME, { unit: 's', description: 'Time since the process started' })
  const all = [min, max, mean, stddev, p50, p90, p99, utilized, heap, memory, cpu, uptime]

  const observe = (result: BatchObservableResult) => {
    if (delays.count > 0) {
      result.observe(min, delays.min * nanoseconds)
      result.observe(max, delays.max * nanoseconds)
      result.observe(mean, delays.mean * nanoseconds)
      result.observe(stddev, delays.stddev * nanoseconds)
      result.observe(p50, delays.percentile(50) * nanoseconds)
      result.observe(p90, delays.percentile(90) * nanoseconds)
      result.observe(p99, delays.percentile(99) * nanoseconds)
      delays.reset()
    }
    const now = performance.eventLoopUtilization()
    result.observe(utilized, performance.eventLoopUtilization(now, utilization).utilization)
    utilization = now
    for (const space of getHeapSpaceStatistics()) result.observe(heap, space.space_used_size, { [ATTR_HEAP_SPACE]: space.space_name })
    result.observe(memory, process.memoryUsage.rss())
    const { user, system } = process.cpuUsage()
    result.observe(cpu, user * microseconds, { [ATTR_CPU_MODE]: 'user' })
    result.observe(cpu, system * microseconds, { [ATTR_CPU_MODE]: 'system' })
    result.observe(uptime, process.uptime())
  }
  meter.addBatchObservableCallback(observe, all)
  const unobserveGc = observeGc(
    meter.createHistogram(METRIC_GC_DURATION, {
      unit: 's',
      description: 'Garbage collection duration',
      advice: { explicitBucketBoundaries: [0.01, 0.1, 1, 10] },
    }),
  )
  return () => {
    unobserveGc()
    meter.removeBatchObservableCallback(observe, all)
    delays.disable()
  }
}

const gcTypes: ReadonlyMap<number, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
])

function observeGc(duration: Histogram): () => void {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as { detail?: { kind?: number } }).detail ?? {}
      duration.record(entry.duration / 1_000, { [ATTR_GC_TYPE]: gcTypes.get(kind ?? -1) ?? '_OTHER' })
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return () => observer.disconnect()
}
