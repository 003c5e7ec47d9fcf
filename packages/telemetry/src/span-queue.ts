import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import { cleanSpan, type RedactorLike } from './clean-span.ts'
import { ExportQueue, type ExportStats, maxQueued } from './export-queue.ts'
import type { SamplingReason } from './local-trace.ts'
import type { LoggerLike } from './options.ts'
import type { OtlpSender } from './otlp-sender.ts'
import type { SpanSink } from './recorded-span.ts'

/** While an outage makes every request fail, the sampled traces still find room. */
const maxQueuedForUpgrades = maxQueued / 2

/** Spans on their way to the collector, cleaned of what it would refuse and nobody may see. */
export class SpanQueue implements SpanSink {
  readonly #queue: ExportQueue<ReadableSpan>
  readonly #redactor: RedactorLike | undefined

  constructor(sender: OtlpSender, logger: LoggerLike | undefined, redactor: RedactorLike | undefined) {
    this.#queue = new ExportQueue({ what: 'spans', sender, serialize, logger })
    this.#redactor = redactor
  }

  stats(): ExportStats {
    return this.#queue.stats()
  }

  keeps(): boolean {
    return true
  }

  ended(span: ReadableSpan): void {
    if (this.#queue.hasRoom) this.#add(span)
    else this.drop()
  }

  /** One that the sampler did not choose. */
  upgrade(span: ReadableSpan, reason: SamplingReason): void {
    if (this.#queue.hasRoom && this.#queue.stats().queued < maxQueuedForUpgrades) this.#add(span, reason)
    else this.drop()
  }

  /** Counts one that is lost. */
  drop(): void {
    this.#queue.drop()
  }

  #add(span: ReadableSpan, reason?: SamplingReason): void {
    try {
      const { span: clean, bytes } = cleanSpan(span, this.#redactor, reason)
      this.#queue.add(clean, bytes)
    } catch {
      this.drop()
    }
  }

  close(timeoutMs: number): Promise<void> {
    return this.#queue.close(timeoutMs)
  }
}

function serialize(spans: readonly ReadableSpan[]): Uint8Array | undefined {
  try {
    return JsonTraceSerializer.serializeRequest([...spans])
  } catch {
    return undefined
  }
}
