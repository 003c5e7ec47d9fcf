import { type Attributes, type Context, type Link, type SpanKind, isSpanContextValid, trace } from '@opentelemetry/api'
import {
  AlwaysOnSampler,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  type SamplingResult,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace'

/** Decides for traces that begin here, follows the caller for all others, and counts the former. */
export class CountingSampler implements Sampler {
  readonly #inner: ParentBasedSampler
  readonly counts: { sampled: number; unsampled: number } = { sampled: 0, unsampled: 0 }

  constructor(ratio: number) {
    this.#inner = new ParentBasedSampler({ root: ratio === 1 ? new AlwaysOnSampler() : new TraceIdRatioBasedSampler(ratio) })
  }

  shouldSample(context: Context, traceId: string, name: string, kind: SpanKind, attributes: Attributes, links: Link[]): SamplingResult {
    const result = this.#inner.shouldSample(context, traceId, name, kind, attributes, links)
    const parent = trace.getSpanContext(context)
    if (!parent || !isSpanContextValid(parent)) {
      if (result.decision === SamplingDecision.RECORD_AND_SAMPLED) this.counts.sampled += 1
      else this.counts.unsampled += 1
    }
    return result
  }

  toString(): string {
    return `Counting{${this.#inner.toString()}}`
  }
}
