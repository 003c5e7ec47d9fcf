import { type Attributes, type SpanContext, ValueType } from '@opentelemetry/api'
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  type HistogramMetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics'
import { emptyResource } from '@opentelemetry/resources'
import { SCOPE } from './instrumentation.ts'

/** As the SDK has it: further series are counted together. */
const maxSeries = 2_000

export interface Exemplar {
  readonly labels: Attributes
  readonly value: number
  readonly timestampMs: number
}

interface Series {
  readonly attributes: Attributes
  /** By bucket; the last one is above all boundaries. */
  readonly counts: number[]
  /** Of sampled requests only, since a dot in a diagram must lead to a trace that exists; the latest of each bucket. */
  readonly exemplars: (Exemplar | undefined)[]
  sum: number
  count: number
}

interface DurationOptions {
  readonly unit: 's'
  readonly description: string
  readonly boundaries: number[]
}

/** Makes histograms that have what instruments of the SDK lack: exemplars, and a price that a request does not notice. */
export class ExemplarMeter implements MetricProducer {
  readonly #histograms = new Map<string, Durations>()

  createHistogram(name: string, options: DurationOptions): Durations {
    const histogram = new Durations(name, options)
    this.#histograms.set(name, histogram)
    return histogram
  }

  /** Of a series as `collect` gave it. */
  exemplar(name: string, attributes: Attributes, bucket: number): Exemplar | undefined {
    return this.#histograms.get(name)?.exemplar(attributes, bucket)
  }

  collect(): Promise<CollectionResult> {
    const metrics = [...this.#histograms.values()].map((histogram) => histogram.data()).filter(({ dataPoints }) => dataPoints.length > 0)
    const scopeMetrics = metrics.length === 0 ? [] : [{ scope: { name: SCOPE }, metrics }]
    return Promise.resolve({ resourceMetrics: { resource: emptyResource(), scopeMetrics }, errors: [] })
  }
}

/** The few values that tell series apart, in an order that is always the same. */
export type SeriesKey = readonly [string | undefined, ...(string | number | undefined)[]]

/**
 * A histogram of seconds. A series is found by what its caller knows, the first value by a look-up and the others one by one, where an instrument of
 * the SDK sorts and writes all attributes at every call.
 */
export class Durations {
  readonly #name: string
  readonly #options: DurationOptions
  readonly #byFirst = new Map<string | undefined, { readonly key: SeriesKey; readonly series: Series }[]>()
  readonly #byAttributes = new Map<Attributes, Series>()
  readonly #startTime = hrTimeOf(Date.now())
  #overflow: Series | undefined

  constructor(name: string, options: DurationOptions) {
    this.#name = name
    this.#options = options
  }

  record(key: SeriesKey, attributesOf: () => Attributes, seconds: number, sampled: SpanContext | undefined): void {
    const series = this.#find(key) ?? this.#add(key, attributesOf)
    const { boundaries } = this.#options
    let bucket = 0
    while (bucket < boundaries.length && seconds > boundaries[bucket]!) bucket++
    series.counts[bucket]!++
    series.count++
    series.sum += seconds
    if (sampled === undefined) return
    const { traceId, spanId } = sampled
    series.exemplars[bucket] = { labels: { trace_id: traceId, span_id: spanId }, value: seconds, timestampMs: Date.now() }
  }

  #find(key: SeriesKey): Series | undefined {
    for (const known of this.#byFirst.get(key[0]) ?? none) if (isSame(known.key, key)) return known.series
    return undefined
  }

  #add(key: SeriesKey, attributesOf: () => Attributes): Series {
    if (this.#byAttributes.size >= maxSeries - 1) return (this.#overflow ??= this.#seriesOf({ 'otel.metric.overflow': true }))
    const series = this.#seriesOf(attributesOf())
    const first = this.#byFirst.get(key[0])
    if (first === undefined) this.#byFirst.set(key[0], [{ key, series }])
    else first.push({ key, series })
    return series
  }

  #seriesOf(attributes: Attributes): Series {
    const counts = Array.from({ length: this.#options.boundaries.length + 1 }, () => 0)
    const series: Series = { attributes, counts, exemplars: [], sum: 0, count: 0 }
    this.#byAttributes.set(attributes, series)
    return series
  }

  exemplar(attributes: Attributes, bucket: number): Exemplar | undefined {
    return this.#byAttributes.get(attributes)?.exemplars[bucket]
  }

  data(): HistogramMetricData {
    const endTime = hrTimeOf(Date.now())
    const { unit, description, boundaries } = this.#options
    return {
      descriptor: { name: this.#name, description, unit, valueType: ValueType.DOUBLE },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: [...this.#byAttributes.values()].map(({ attributes, counts, sum, count }) => ({
        startTime: this.#startTime,
        endTime,
        attributes,
        value: { buckets: { boundaries, counts: [...counts] }, sum, count },
      })),
    }
  }
}

const none: readonly never[] = []

function isSame(left: SeriesKey, right: SeriesKey): boolean {
  for (let index = 1; index < left.length; index++) if (left[index] !== right[index]) return false
  return true
}

function hrTimeOf(ms: number): [number, number] {
  return [Math.trunc(ms / 1_000), (ms % 1_000) * 1e6]
}
