import { TraceFlags } from '@opentelemetry/api'
import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace'
import type { LoggerLike } from './options.ts'
import type { OtlpSender } from './otlp-sender.ts'

const maxQueued = 4_096
const maxBatch = 512
const flushEveryMs = 1_000
const sendTimeoutMs = 10_000
/** A batch is tried this often, with these pauses between. */
const pausesMs = [1_000, 3_000]

/**
 * Sampled spans on their way out. Every one is accounted for: `exported`, `dropped` (queue full, refused, out of tries, out of time), or
 * still `queued`. One request at a time, so that a slow collector costs one batch and no more.
 */
export class SpanQueue implements SpanProcessor {
  readonly #sender: OtlpSender
  readonly #logger: LoggerLike | undefined
  #queue: ReadableSpan[] = []
  #inHand = 0
  #exported = 0
  #dropped = 0
  #failing = false
  #timer: NodeJS.Timeout | undefined
  #working: Promise<void> | undefined
  /** Aborted at the start of close(): no more pauses. */
  readonly #closing = new AbortController()
  /** Aborted at the end of close(): no more requests. */
  readonly #cut = new AbortController()

  constructor(sender: OtlpSender, logger: LoggerLike | undefined) {
    this.#sender = sender
    this.#logger = logger
  }

  stats(): { exported: number; dropped: number; queued: number } {
    return { exported: this.#exported, dropped: this.#dropped, queued: this.#queue.length + this.#inHand }
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) === 0) return
    if (this.#closing.signal.aborted || this.#queue.length >= maxQueued) {
      this.#dropped += 1
      return
    }
    this.#queue.push(span)
    if (this.#queue.length >= maxBatch) this.#work()
    else this.#timer ??= setTimeout(() => this.#work(), flushEveryMs).unref()
  }

  #work(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#working ??= this.#sendAll().finally(() => {
      this.#working = undefined
    })
  }

  async #sendAll(): Promise<void> {
    while (this.#queue.length > 0 && !this.#cut.signal.aborted) {
      const batch = this.#queue.splice(0, maxBatch)
      this.#inHand = batch.length
      const sent = await this.#sendBatch(batch)
      this.#inHand = 0
      if (sent) this.#exported += batch.length
      else this.#dropped += batch.length
      if (sent === this.#failing)
        this.#logger?.[sent ? 'info' : 'warn'](
          { ...this.stats() },
          sent ? 'spans are exported again' : 'spans are lost: the collector does not take them',
        )
      this.#failing = !sent
      // At close a collector that fails once gets no second chance.
      if (!sent && this.#closing.signal.aborted) return
    }
  }

  async #sendBatch(batch: readonly ReadableSpan[]): Promise<boolean> {
    for (let attempt = 0; ; attempt++) {
      const timeout = new AbortController()
      const timer = setTimeout(() => timeout.abort(), sendTimeoutMs)
      timer.unref()
      const result = await this.#sender.send(batch, AbortSignal.any([this.#cut.signal, timeout.signal]))
      clearTimeout(timer)
      const pauseMs = pausesMs[attempt]
      if (result === 'sent') return true
      if (result === 'refused' || pauseMs === undefined || this.#closing.signal.aborted) return false
      await unlessAborted(pauseMs, this.#closing.signal)
    }
  }

  async forceFlush(): Promise<void> {
    this.#work()
    await this.#working
  }

  shutdown(): Promise<void> {
    return this.close(0)
  }

  /** Sends what is queued until the time is over; the rest counts as dropped. */
  async close(timeoutMs: number): Promise<void> {
    this.#closing.abort()
    this.#work()
    const timer = setTimeout(() => this.#cut.abort(), timeoutMs)
    await this.#working
    clearTimeout(timer)
    this.#cut.abort()
    this.#sender.close()
    this.#dropped += this.#queue.length
    this.#queue = []
  }
}

function unlessAborted(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    timer.unref()
    signal.addEventListener('abort', done)
  })
}
