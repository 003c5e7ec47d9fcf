import { type SpanContext, TraceFlags } from '@opentelemetry/api'

/** Hexadecimal digits of the part of a trace id that is random by W3C's Trace Context, level 2. */
const randomDigits = 14

/** Above every id. */
const none = 'g'

/** Decides for traces that begin here, follows the caller for all others, and counts the former. */
export class CountingSampler {
  /** In hexadecimal digits, which are compared as texts: from this on an id is sampled. */
  readonly #threshold: string
  readonly counts: { sampled: number; unsampled: number } = { sampled: 0, unsampled: 0 }

  constructor(ratio: number) {
    const digits = Math.ceil((1 - ratio) * 16 ** randomDigits).toString(16)
    this.#threshold = digits.length > randomDigits ? none : digits.padStart(randomDigits, '0')
  }

  /** `parent` is a valid one. The same for every process that decides by the id's random part, as the consistent samplers of OpenTelemetry do. */
  isSampled(parent: SpanContext | undefined, traceId: string): boolean {
    if (parent !== undefined) return (parent.traceFlags & TraceFlags.SAMPLED) !== 0
    const isSampled = traceId.slice(-randomDigits) >= this.#threshold
    if (isSampled) this.counts.sampled += 1
    else this.counts.unsampled += 1
    return isSampled
  }
}
