import {
  metrics,
  trace,
  type BatchObservableCallback,
  type Meter,
  type MeterProvider,
  type Observable,
  type Tracer,
} from '@opentelemetry/api'
import { afterEach, describe, expect, it } from 'vitest'
import { memory } from './drivers/memory.ts'
import { cacheMetrics, cacheSpans, createCache } from './index.ts'

/** As much of an SDK as reads what the cache tells. */
function collect() {
  const callbacks = new Set<BatchObservableCallback>()
  const loads: number[] = []
  const named = (name: string) => ({ name, record: (value: number) => loads.push(value) })
  const meter = {
    createObservableCounter: named,
    createObservableUpDownCounter: named,
    createHistogram: named,
    addBatchObservableCallback: (callback: BatchObservableCallback) => callbacks.add(callback),
    removeBatchObservableCallback: (callback: BatchObservableCallback) => callbacks.delete(callback),
  }
  metrics.setGlobalMeterProvider({ getMeter: () => meter as unknown as Meter } satisfies MeterProvider)
  const spans: string[] = []
  const span = { end: () => undefined, setStatus: () => undefined }
  const startActiveSpan = (name: string, _options: object, run: (active: typeof span) => unknown) => {
    spans.push(name)
    return run(span)
  }
  trace.setGlobalTracerProvider({ getTracer: () => ({ startActiveSpan }) as unknown as Tracer })
  const read = () => {
    const seen: Record<string, number> = {}
    for (const callback of callbacks)
      void callback({
        observe: (metric: Observable, value: number, attributes: Record<string, string> = {}) => {
          const { name } = metric as unknown as { name: string }
          seen[[name, attributes['platform.cache.namespace'], attributes['result'] ?? attributes['origin']].filter(Boolean).join(' ')] =
            value
        },
      })
    return seen
  }
  return { read, loads, spans, callbacks }
}

afterEach(() => {
  metrics.disable()
  trace.disable()
})

describe('telemetry', () => {
  it('counts requests by result, entries, evictions and invalidations; a hit makes no span', async () => {
    const { read, loads, spans, callbacks } = collect()
    const cache = createCache({ namespace: 'seen', l1: memory({ maxBytes: 1e6, maxEntries: 2 }), ttlMs: 60_000 })
    await cache.getOrSet('a', () => 1)
    await cache.getOrSet('a', () => 1)
    await cache.getOrSet('b', () => 1)
    await cache.getOrSet('c', () => 1)
    await cache.getOrSet('d', () => Promise.reject(new Error('down'))).catch(() => undefined)
    await cache.delete('c')
    expect(read()).toEqual({
      [`${cacheMetrics.requests} seen hit`]: 1,
      [`${cacheMetrics.requests} seen miss`]: 3,
      [`${cacheMetrics.requests} seen stale`]: 0,
      [`${cacheMetrics.requests} seen error`]: 1,
      [`${cacheMetrics.invalidations} seen local`]: 1,
      [`${cacheMetrics.invalidations} seen bus`]: 0,
      [`${cacheMetrics.invalidations} seen gap`]: 0,
      [`${cacheMetrics.faults} seen l2`]: 0,
      [`${cacheMetrics.faults} seen bus`]: 0,
      [`${cacheMetrics.entries} seen`]: 1,
      [`${cacheMetrics.evictions} seen`]: 1,
    })
    expect(loads).toHaveLength(4)
    expect(spans).toEqual(Array.from({ length: 4 }, () => cacheSpans.load))
    await cache.close()
    expect(callbacks.size).toBe(0)
  })
})
