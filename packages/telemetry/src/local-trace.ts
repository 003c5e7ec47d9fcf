import { type Attributes, SpanStatusCode } from '@opentelemetry/api'
import type { RecordedSpan, SpanSink } from './recorded-span.ts'

/** Why spans of a trace left that the sampler had not chosen. */
export type SamplingReason = 'error' | 'slow'

/** What is kept of a trace, its latest spans: a loop of a thousand queries ends with the one that failed. */
const maxSpansOfTrace = 128
/** Of all traces together. Beyond it the oldest give theirs up. */
const maxSpans = 8_192
const maxBytes = 16 * 1024 * 1024

export interface UpgradeOptions {
  /** Whether a local root with the status error is exported. */
  readonly errors: boolean
  /** One that took this long or longer is exported. */
  readonly latencyThresholdMs: number | undefined
  readonly exporter: {
    upgrade(span: RecordedSpan, reason: SamplingReason): void
    /** Told of each span that should have left and is gone. */
    drop(): void
  }
}

/** The traces that the sampler did not choose, while they are under way here. Their spans are held, and forgotten with nearly all of them. */
export class UnsampledTraces {
  readonly counts: Record<SamplingReason, number> = { error: 0, slow: 0 }
  readonly #options: UpgradeOptions
  /** Those that hold spans, by age. */
  readonly #holding = new Set<LocalTrace>()
  #spans = 0
  #bytes = 0

  constructor(options: UpgradeOptions) {
    this.#options = options
  }

  begin(rootSpanId: string): LocalTrace {
    return new LocalTrace(this, rootSpanId)
  }

  hold(trace: LocalTrace, span: RecordedSpan): void {
    const bytes = bytesOf(span)
    if (trace.held.length === 0) this.#holding.add(trace)
    else if (trace.held.length >= maxSpansOfTrace) this.#loseFirst(trace)
    trace.held.push({ span, bytes })
    this.#spans += 1
    this.#bytes += bytes
    // One whose root never ends is the oldest some day.
    for (const oldest of this.#holding) {
      if (this.#spans <= maxSpans && this.#bytes <= maxBytes) break
      oldest.lost += this.release(oldest).length
    }
  }

  #loseFirst(trace: LocalTrace): void {
    this.#spans -= 1
    this.#bytes -= trace.held.shift()?.bytes ?? 0
    trace.lost += 1
  }

  release(trace: LocalTrace): RecordedSpan[] {
    const held = trace.held
    if (held.length === 0) return []
    this.#holding.delete(trace)
    this.#spans -= held.length
    for (const { bytes } of held) this.#bytes -= bytes
    trace.held = []
    return held.map(({ span }) => span)
  }

  reasonOf(root: RecordedSpan): SamplingReason | undefined {
    const { errors, latencyThresholdMs } = this.#options
    if (errors && root.status.code === SpanStatusCode.ERROR) return 'error'
    return latencyThresholdMs !== undefined && root.durationMs >= latencyThresholdMs ? 'slow' : undefined
  }

  export(span: RecordedSpan, reason: SamplingReason): void {
    this.#options.exporter.upgrade(span, reason)
  }

  exportHeld(trace: LocalTrace, reason: SamplingReason): void {
    this.counts[reason] += 1
    for (const span of this.release(trace)) this.export(span, reason)
    for (; trace.lost > 0; trace.lost--) this.#options.exporter.drop()
  }
}

/**
 * What this process does in one unsampled trace, from its first span here, the local root, on. Open: spans that end are held. At the root's end they
 * are exported with it, for a reason, or forgotten; so is what ends later.
 */
export class LocalTrace implements SpanSink {
  held: { readonly span: RecordedSpan; readonly bytes: number }[] = []
  lost = 0
  readonly #traces: UnsampledTraces
  readonly #rootSpanId: string
  #verdict: 'open' | SamplingReason | 'forgotten' = 'open'

  constructor(traces: UnsampledTraces, rootSpanId: string) {
    this.#traces = traces
    this.#rootSpanId = rootSpanId
  }

  /** Whether spans are worth recording still. */
  get isForgotten(): boolean {
    return this.#verdict === 'forgotten'
  }

  keeps(span: RecordedSpan): boolean {
    if (this.#verdict === 'open' && span.spanContext().spanId === this.#rootSpanId) this.#decide(this.#traces.reasonOf(span))
    return this.#verdict !== 'open' && this.#verdict !== 'forgotten'
  }

  #decide(reason: SamplingReason | undefined): void {
    this.#verdict = reason ?? 'forgotten'
    if (reason === undefined) this.#traces.release(this)
    else this.#traces.exportHeld(this, reason)
  }

  ended(span: RecordedSpan): void {
    this.keeps(span)
    if (this.#verdict === 'forgotten') return
    if (this.#verdict === 'open') this.#traces.hold(this, span)
    else this.#traces.export(span, this.#verdict)
  }
}

/** About what a span takes in memory. */
function bytesOf(span: RecordedSpan): number {
  let bytes = 512 + textBytes(span.attributes)
  for (const { attributes } of span.events) bytes += 128 + (attributes === undefined ? 0 : textBytes(attributes))
  for (const { attributes } of span.links) bytes += 128 + (attributes === undefined ? 0 : textBytes(attributes))
  return bytes
}

function textBytes(attributes: Attributes): number {
  let bytes = 0
  for (const key of Object.keys(attributes)) bytes += key.length + valueBytes(attributes[key])
  return bytes
}

function valueBytes(value: unknown): number {
  if (typeof value === 'string') return value.length
  return Array.isArray(value) ? value.reduce<number>((sum, item) => sum + valueBytes(item), 16) : 16
}
