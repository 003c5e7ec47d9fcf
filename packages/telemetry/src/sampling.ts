import { type SpanContext, TraceFlags } from '@opentelemetry/api'

/** Hexadecimal digits of the part of a trace id that is random by W3C's Trace Context, level 2. */
const randomDigits = 14

/** Decides for traces that begin here, follows the caller for all others, and counts the former. */
export class CountingSampler {
  readonly #ratio: number
  readonly #threshold: number
  readonly counts: { sampled: number; unsampled: number } = { sampled: 0, unsampled: 0 }

  constructor(ratio: number) {
    this.#ratio = ratio
    this.#threshold = (1 - ratio) * 16 ** randomDigits
  }

  /** `parent` is a valid one. The same for every process that decides by the id's random part, as the consistent samplers of OpenTelemetry do. */
  isSampled(parent: SpanContext | undefined, traceId: string): boolean {
    if (parent !== undefined) return (parent.traceFlags & TraceFlags.SAMPLED) !== 0
    const isSampled = this.#ratio > 0 && Number.parseInt(traceId.slice(-randomDigits), 16) >= this.#threshold
    if (isSampled) this.counts.sampled += 1
    else this.counts.unsampled += 1
    return isSampled
  }
}
