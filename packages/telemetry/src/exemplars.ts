import type { Attributes, SpanContext } from '@opentelemetry/api'

/** Series times buckets that keep an exemplar; the one that was not offered for longest makes room. */
const maxExemplars = 5_000

export interface Exemplar {
  readonly labels: Attributes
  readonly value: number
  readonly timestampMs: number
}

/**
 * The SDK has no exemplars, so the latest sampled request of each bucket is kept beside it. Only sampled ones: a dot in a diagram must lead
 * to a trace that exists.
 */
export class ExemplarReservoir {
  readonly #latest = new Map<string, Exemplar>()
  readonly #boundaries: readonly number[]

  constructor(boundaries: readonly number[]) {
    this.#boundaries = boundaries
  }

  offer(attributes: Attributes, value: number, { traceId, spanId }: SpanContext): void {
    const at = this.#boundaries.findIndex((boundary) => value <= boundary)
    const key = keyOf(attributes, at < 0 ? this.#boundaries.length : at)
    this.#latest.delete(key)
    if (this.#latest.size >= maxExemplars) this.#latest.delete(this.#latest.keys().next().value!)
    this.#latest.set(key, { labels: { trace_id: traceId, span_id: spanId }, value, timestampMs: Date.now() })
  }

  find(attributes: Attributes, bucket: number): Exemplar | undefined {
    return this.#latest.get(keyOf(attributes, bucket))
  }
}

function keyOf(attributes: Attributes, bucket: number): string {
  const keys = Object.keys(attributes).toSorted()
  return `${bucket} ${JSON.stringify(keys.map((key) => [key, attributes[key]]))}`
}
