import { backgroundPause, backgroundTimeout, guarded } from '@platform/kernel'
import type { LoggerLike } from './options.ts'
import type { OtlpSender } from './otlp-sender.ts'

export const maxQueued = 4_096
const maxQueuedBytes = 16 * 1024 * 1024
const maxBatch = 512
const maxBatchBytes = 2 * 1024 * 1024
const flushEveryMs = 1_000
const sendTimeoutMs = 10_000
/** A batch is tried this often, with these pauses between; a collector that says how long to wait is heard, up to the longest. */
const pausesMs = [1_000, 3_000]
const longestPauseMs = 30_000

export interface ExportStats {
  /** The collector took them. */
  readonly exported: number
  /** Lost: queue full, refused, out of tries, out of time. */
  readonly dropped: number
  readonly queued: number
}

export interface ExportQueueOptions<Item> {
  /** What they are, in a line of the log. */
  readonly what: 'spans' | 'log records'
  readonly sender: OtlpSender
  /** The body of a request, or undefined when one of them cannot be written. */
  readonly serialize: (items: readonly Item[]) => Uint8Array | undefined
  readonly logger: LoggerLike | undefined
}

/**
 * Spans or log records on their way to a collector. Every one is accounted for. One request at a time, so that a slow collector costs one batch and
 * no more.
 */
export class ExportQueue<Item> {
  readonly #options: ExportQueueOptions<Item>
  #queue: { readonly item: Item; readonly bytes: number }[] = []
  #queuedBytes = 0
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

  constructor(options: ExportQueueOptions<Item>) {
    this.#options = options
  }

  stats(): ExportStats {
    return { exported: this.#exported, dropped: this.#dropped, queued: this.#queue.length + this.#inHand }
  }

  /** Whether one more would be kept. Asked before it is made ready, so that what is lost costs nothing. */
  get hasRoom(): boolean {
    return !this.#closing.signal.aborted && this.#queue.length < maxQueued
  }

  /** Counts one that was lost before it came here. */
  drop(): void {
    this.#dropped += 1
  }

  /** `bytes` is about what it takes on the wire. */
  add(item: Item, bytes: number): void {
    if (!this.hasRoom || this.#queuedBytes + bytes > maxQueuedBytes) return this.drop()
    this.#queue.push({ item, bytes })
    this.#queuedBytes += bytes
    if (this.#hasBatch) this.#work()
    else this.#workLater()
  }

  get #hasBatch(): boolean {
    return this.#queue.length >= maxBatch || this.#queuedBytes >= maxBatchBytes
  }

  #workLater(): void {
    this.#timer ??= backgroundTimeout(() => this.#work(), flushEveryMs)
  }

  #work(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#queue.length > 0) this.#working ??= this.#sendBatches()
  }

  /** What is there now. What comes meanwhile waits for company: a request for every few of them would cost both sides more than they do. */
  async #sendBatches(): Promise<void> {
    do {
      const batch = this.#nextBatch()
      this.#inHand = batch.length
      const taken = await this.#deliver(batch)
      this.#inHand = 0
      this.#exported += taken
      this.#dropped += batch.length - taken
      const isLosing = taken < batch.length
      if (isLosing !== this.#failing) this.#report(isLosing)
      this.#failing = isLosing
      // At close a collector that fails once gets no second chance.
      if (taken === 0 && this.#closing.signal.aborted) break
    } while (this.#queue.length > 0 && (this.#hasBatch || this.#closing.signal.aborted) && !this.#cut.signal.aborted)
    this.#working = undefined
    if (this.#queue.length > 0 && !this.#closing.signal.aborted) this.#workLater()
  }

  #nextBatch(): Item[] {
    let count = 0
    let bytes = 0
    while (count < Math.min(maxBatch, this.#queue.length) && (count === 0 || bytes + this.#queue[count]!.bytes <= maxBatchBytes)) {
      bytes += this.#queue[count]!.bytes
      count++
    }
    this.#queuedBytes -= bytes
    return this.#queue.splice(0, count).map(({ item }) => item)
  }

  /** How many of them the collector took. What cannot be written costs itself, not its neighbours. */
  async #deliver(batch: readonly Item[]): Promise<number> {
    const body = this.#options.serialize(batch)
    if (body !== undefined) return this.#send(body, batch.length)
    if (batch.length <= 1) return 0
    const half = batch.length >> 1
    return (await this.#deliver(batch.slice(0, half))) + (await this.#deliver(batch.slice(half)))
  }

  async #send(body: Uint8Array, count: number): Promise<number> {
    for (let attempt = 0; ; attempt++) {
      const timeout = new AbortController()
      // The request holds the process by itself.
      const timer = backgroundTimeout(() => timeout.abort(), sendTimeoutMs)
      const result = await this.#options.sender.send(body, AbortSignal.any([this.#cut.signal, timeout.signal]))
      clearTimeout(timer)
      if (result.kind === 'sent') return Math.max(0, count - result.rejected)
      const pauseMs = pausesMs[attempt]
      if (result.kind === 'refused' || pauseMs === undefined || this.#closing.signal.aborted) return 0
      await backgroundPause(Math.min(longestPauseMs, Math.max(pauseMs, result.afterMs ?? 0)), this.#closing.signal)
    }
  }

  #report(isLosing: boolean): void {
    const { logger, what } = this.#options
    if (isLosing) guarded(() => logger?.warn({ ...this.stats() }, `${what} are lost: the collector does not take them`))
    else guarded(() => logger?.info({ ...this.stats() }, `${what} are exported again`))
  }

  /** Sends what is queued until the time is over; the rest counts as dropped. */
  async close(timeoutMs: number): Promise<void> {
    this.#closing.abort()
    this.#work()
    const timer = setTimeout(() => this.#cut.abort(), timeoutMs)
    await this.#working
    clearTimeout(timer)
    this.#cut.abort()
    this.#options.sender.close()
    this.#dropped += this.#queue.length
    this.#queue = []
    this.#queuedBytes = 0
  }
}
