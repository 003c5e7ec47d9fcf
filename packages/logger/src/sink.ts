import { setTimeout as delay } from 'node:timers/promises'
import type { Destination } from './destination.ts'

export interface SinkStats {
  /** Lines that the destination has taken: they survive a kill -9. */
  readonly written: number
  /** Lines that wait in memory because the destination takes nothing: lost if the process is killed. */
  readonly atRisk: number
  /** Lines that are lost. */
  readonly dropped: number
}

interface Waiting {
  chunk: string | Buffer
  bytes: number
  readonly isImportant: boolean
}

const firstRetryMs = 5
const lastRetryMs = 100
/** How long the end of the process may be held for lines that still wait. */
const exitGraceMs = 200

/**
 * Writes each line at once. When the destination is full, lines wait in order in a bounded buffer. When that is full too, a
 * line below `warn` is dropped; a line from `warn` on takes the place of the oldest waiting ones below.
 */
export class Sink {
  readonly #destination: Destination
  readonly #maxBytes: number
  readonly #onRecovery: (dropped: number) => void
  #queue: Waiting[] = []
  /** Waiting lines before this index are important ones. */
  #firstMinor = 0
  #bytes = 0
  #written = 0
  #dropped = 0
  #unreported = 0
  #isGone = false
  #timer: NodeJS.Timeout | undefined
  #retryMs = firstRetryMs
  #lastTry = 0
  readonly #onExit = () => this.#flushAtExit()

  constructor(destination: Destination, options: { maxBytes: number; onRecovery(dropped: number): void }) {
    this.#destination = destination
    this.#maxBytes = options.maxBytes
    this.#onRecovery = options.onRecovery
    destination.onWritable?.(() => this.flush())
  }

  get stats(): SinkStats {
    return { written: this.#written, atRisk: this.#queue.length, dropped: this.#dropped }
  }

  write(line: string, isImportant: boolean): void {
    if (this.#isGone) return this.#drop(1)
    // A burst inside one turn of the event loop must not overflow while the reader keeps up.
    if (this.#queue.length > 0 && performance.now() - this.#lastTry > 1) this.flush()
    if (this.#queue.length > 0) return this.#enqueue({ chunk: line, bytes: Buffer.byteLength(line), isImportant })
    const taken = this.#destination.write(line)
    if (taken === 'gone') return this.#abandon(1)
    const bytes = Buffer.byteLength(line)
    if (taken === bytes) this.#written++
    else if (taken === 'full') this.#enqueue({ chunk: line, bytes, isImportant })
    // Half a line is out: the rest must follow, whatever its level.
    else this.#enqueue({ chunk: Buffer.from(line).subarray(taken), bytes: bytes - taken, isImportant: true })
  }

  /** Writes what waits, as far as the destination takes it. */
  flush(): void {
    this.#lastTry = performance.now()
    let done = 0
    for (const waiting of this.#queue) {
      const taken = this.#destination.write(waiting.chunk)
      if (taken === 'gone') return this.#abandon(0)
      if (taken === 'full') break
      this.#bytes -= taken
      if (taken < waiting.bytes) {
        waiting.chunk = Buffer.from(waiting.chunk as string).subarray(taken)
        waiting.bytes -= taken
        Object.assign(waiting, { isImportant: true })
        break
      }
      this.#written++
      done++
    }
    if (done > 0) {
      this.#queue.splice(0, done)
      this.#firstMinor = Math.max(0, this.#firstMinor - done)
      this.#retryMs = firstRetryMs
    }
    if (this.#queue.length > 0) return this.#retryLater()
    this.#rest()
    this.#report()
  }

  /** Waits until nothing waits, at most `timeoutMs`; what is left then is lost. */
  async close(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    this.flush()
    while (this.#queue.length > 0 && performance.now() < deadline) {
      await delay(Math.min(firstRetryMs, timeoutMs))
      this.flush()
    }
    this.#abandon(0)
    this.#destination.close()
  }

  #enqueue(line: Waiting): void {
    if (this.#queue.length === 0) process.on('exit', this.#onExit)
    while (this.#bytes + line.bytes > this.#maxBytes && line.isImportant && this.#evictMinor());
    if (this.#bytes + line.bytes > this.#maxBytes && this.#queue.length > 0) this.#drop(1)
    else {
      this.#queue.push(line)
      this.#bytes += line.bytes
    }
    this.#retryLater()
  }

  #evictMinor(): boolean {
    while (this.#firstMinor < this.#queue.length) {
      const candidate = this.#queue[this.#firstMinor]
      if (candidate && !candidate.isImportant) {
        this.#queue.splice(this.#firstMinor, 1)
        this.#bytes -= candidate.bytes
        this.#drop(1)
        return true
      }
      this.#firstMinor++
    }
    return false
  }

  #retryLater(): void {
    if (this.#timer || this.#isGone) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs)
      this.flush()
    }, this.#retryMs)
    this.#timer.unref()
  }

  #rest(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    process.off('exit', this.#onExit)
  }

  #report(): void {
    if (this.#unreported === 0 || this.#isGone) return
    const count = this.#unreported
    this.#unreported = 0
    this.#onRecovery(count)
  }

  #drop(count: number): void {
    this.#dropped += count
    this.#unreported += count
  }

  #abandon(more: number): void {
    this.#isGone = true
    this.#drop(this.#queue.length + more)
    this.#queue = []
    this.#firstMinor = 0
    this.#bytes = 0
    this.#rest()
  }

  #flushAtExit(): void {
    const deadline = performance.now() + exitGraceMs
    const sleeper = new Int32Array(new SharedArrayBuffer(4))
    this.flush()
    // A stream needs the event loop, which is over.
    while (!this.#destination.onWritable && this.#queue.length > 0 && performance.now() < deadline) {
      Atomics.wait(sleeper, 0, 0, firstRetryMs)
      this.flush()
    }
  }
}
