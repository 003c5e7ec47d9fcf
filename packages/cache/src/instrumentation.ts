import { metrics, SpanStatusCode, type Span, trace } from '@opentelemetry/api'

/** OpenTelemetry has no conventions for caches yet: names of our own under `platform.cache`. */
export const cacheMetrics = {
  requests: 'platform.cache.requests',
  loadDuration: 'platform.cache.load.duration',
  entries: 'platform.cache.entries',
  evictions: 'platform.cache.evictions',
  invalidations: 'platform.cache.invalidations',
  faults: 'platform.cache.faults',
} as const
export const cacheSpans = { load: 'cache.load' } as const
export const cacheAttributes = {
  namespace: 'platform.cache.namespace',
  result: 'result',
  /** Of a fault: where it was, `l2` or `bus`. Of an invalidation: `local` (asked for here), `bus` (from another process), `gap` (all of l1, since a message may be missing). */
  origin: 'origin',
} as const

export interface CacheCounts {
  hits: number
  misses: number
  stale: number
  errors: number
  invalidations: { local: number; bus: number; gap: number }
  faults: { l2: number; bus: number }
}

const scope = '@platform/cache'

/** Counters are read when somebody collects, so a request pays for an increment and nothing else. Returns what to call around loads and at the end. */
export function instrument(
  namespace: string,
  counts: CacheCounts,
  store: () => { entries: number; evictions: number },
): { load<T>(run: () => Promise<T>): Promise<T>; stop(): void } {
  const meter = metrics.getMeter(scope)
  const tracer = trace.getTracer(scope)
  const of = { [cacheAttributes.namespace]: namespace }
  const requests = meter.createObservableCounter(cacheMetrics.requests, { description: 'Requests by result', unit: '{request}' })
  const entries = meter.createObservableUpDownCounter(cacheMetrics.entries, { description: 'Entries in l1', unit: '{entry}' })
  const evictions = meter.createObservableCounter(cacheMetrics.evictions, { description: 'Entries that made room', unit: '{entry}' })
  const invalidations = meter.createObservableCounter(cacheMetrics.invalidations, {
    description: 'Invalidations by origin',
    unit: '{invalidation}',
  })
  const faults = meter.createObservableCounter(cacheMetrics.faults, {
    description: 'Entries of l2 and messages of the bus that could not be what they should',
    unit: '{fault}',
  })
  const duration = meter.createHistogram(cacheMetrics.loadDuration, {
    description: 'Time in the factory',
    unit: 's',
    advice: { explicitBucketBoundaries: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10] },
  })
  const observed = [requests, entries, evictions, invalidations, faults]
  const observe: Parameters<typeof meter.addBatchObservableCallback>[0] = (result) => {
    for (const [name, count] of Object.entries({ hit: counts.hits, miss: counts.misses, stale: counts.stale, error: counts.errors }))
      result.observe(requests, count, { ...of, [cacheAttributes.result]: name })
    for (const [origin, count] of Object.entries(counts.invalidations))
      result.observe(invalidations, count, { ...of, [cacheAttributes.origin]: origin })
    for (const [origin, count] of Object.entries(counts.faults)) result.observe(faults, count, { ...of, [cacheAttributes.origin]: origin })
    const { entries: size, evictions: evicted } = store()
    result.observe(entries, size, of)
    result.observe(evictions, evicted, of)
  }
  meter.addBatchObservableCallback(observe, observed)
  return {
    load: (run) =>
      tracer.startActiveSpan(cacheSpans.load, { attributes: of }, async (span: Span) => {
        const startedAt = performance.now()
        try {
          return await run()
        } catch (error) {
          span.setStatus({ code: SpanStatusCode.ERROR })
          throw error
        } finally {
          duration.record((performance.now() - startedAt) / 1000, of)
          span.end()
        }
      }),
    stop: () => meter.removeBatchObservableCallback(observe, observed),
  }
}
