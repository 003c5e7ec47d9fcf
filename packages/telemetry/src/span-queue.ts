import { TraceFlags } from '@opentelemetry/api'
import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer'
import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace'
import { cleanSpan, type RedactorLike } from './clean-span.ts'
import { ExportQueue, type ExportStats } from './export-queue.ts'
import type { LoggerLike } from './options.ts'
import type { OtlpSender } from './otlp-sender.ts'

/** Sampled spans, cleaned of what a collector would refuse and nobody may see. */
export class SpanQueue implements SpanProcessor {
  readonly #queue: ExportQueue<ReadableSpan>
  readonly #redactor: RedactorLike | undefined

  constructor(sender: OtlpSender, logger: LoggerLike | undefined, redactor: RedactorLike | undefined) {
    this.#queue = new ExportQueue({ what: 'spans', sender, serialize, logger })
    this.#redactor = redactor
  }

  stats(): ExportStats {
    return this.#queue.stats()
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) === 0) return
    if (!this.#queue.hasRoom) return this.#queue.drop()
    try {
      const { span: clean, bytes } = cleanSpan(span, this.#redactor)
      this.#queue.add(clean, bytes)
    } catch {
      this.#queue.drop()
    }
  }

  forceFlush(): Promise<void> {
    return this.#queue.flush()
  }

  shutdown(): Promise<void> {
    return this.close(0)
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
