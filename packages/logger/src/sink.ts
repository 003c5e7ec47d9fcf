import { backgroundTimeout, pause } from '@platform/kernel'
import type { Destination } from './destination.ts'
import { holdExit, releaseExit } from './exit.ts'

export interface SinkStats {
  /** Lines that the destination has taken: they survive a kill -9. */
  readonly written: number
  /** Lines that wait in memory because the destination takes nothing: lost if the process is killed. */
  readonly atRisk: number
  /** Lines that are lost. */
  readonly dropped: number
}

/** One logger's part in a sink: its own counts, its own end. */
export interface Outlet {
  readonly bufferBytes: number
  readonly fullWaitMs: number
  /** Told how many lines were lost once the destination takes lines again. */
  onRecovery(dropped: number): void
  written: number
  atRisk: number
  dropped: number
  /** Lines lost since `onRecovery` was called last. */
  unreported: number
}

interface Waiting {
  readonly outlet: Outlet
  /** Bytes, since a text may hold on to a far longer one that it is a part of. */
  chunk: Buffer
  isImportant: boolean
  /** Its beginning is out: the rest must follow. */
  isTorn: boolean
}

const firstRetryMs = 5
const lastRetryMs = 100
/** How long the end of the process may be held for lines that still wait. */
const exitGraceMs = 200

/**
 * Writes each line at once. When the destination is full, lines wait in order in a bounded buffer. When that is full too, a
 * line below `warn` is dropped; a line from `warn` on takes the place of the oldest waiting ones below. There is one sink for one file,
 * pipe, terminal or stream, so that loggers that share it do not tear each other's lines.
 */
export class Sink {
  readonly #destination: Destination
  readonly #outlets = new Set<Outlet>()
  #queue: Waiting[] = []
  /** Waiting lines before this index are important ones. */
  #firstMinor = 0
  #bytes = 0
  #isGone = false
  #timer: NodeJS.Timeout | undefined
  #retryMs = firstRetryMs
  #lastTry = 0

  constructor(destination: Destination) {
    this.#destination = destination
    destination.onWritable?.(() => this.flush())
  }

  get identity(): unknown {
    return this.#destination.identity
  }

  get canReopen(): boolean {
    return this.#destination.reopen !== undefined
  }

  open(outlet: Outlet): void {
    this.#outlets.add(outlet)
  }

  /** Whether it was the last one. What the outlet still has waiting is lost. */
  release(outlet: Outlet): boolean {
    this.#outlets.delete(outlet)
    const kept = this.#queue.filter((waiting) => waiting.outlet !== outlet || waiting.isTorn)
    this.#lose(outlet, this.#queue.length - kept.length)
    this.#queue = kept
    this.#bytes = kept.reduce((sum, { chunk }) => sum + chunk.length, 0)
    this.#firstMinor = 0
    if (this.#queue.length === 0) this.#rest()
    if (this.#outlets.size > 0) return false
    this.#abandon()
    this.#destination.close()
    return true
  }

  reopen(): void {
    this.#destination.reopen?.()
  }

  write(outlet: Outlet, line: string, isImportant: boolean): void {
    if (this.#isGone || !this.#outlets.has(outlet)) return this.#drop(outlet, 1)
    // A burst inside one turn of the event loop must not overflow while the reader keeps up.
    if (this.#queue.length > 0 && performance.now() - this.#lastTry > 1) this.flush()
    if (this.#queue.length > 0) return this.#enqueue({ outlet, chunk: Buffer.from(line), isImportant, isTorn: false })
    const taken = this.#destination.write(line)
    if (taken === 'gone') {
      this.#drop(outlet, 1)
      return this.#abandon()
    }
    if (taken === 'all' || taken === Buffer.byteLength(line)) outlet.written++
    else if (taken === 'full') this.#enqueue({ outlet, chunk: Buffer.from(line), isImportant, isTorn: false })
    // Half a line is out: the rest must follow, whatever its level.
    else this.#enqueue({ outlet, chunk: Buffer.from(line).subarray(taken), isImportant: true, isTorn: true })
  }

  /** Writes what waits, as far as the destination takes it. */
  flush(): void {
    this.#lastTry = performance.now()
    let done = 0
    for (const waiting of this.#queue) {
      const taken = this.#destination.write(waiting.chunk)
      if (taken === 'gone') {
        this.#queue.splice(0, done)
        return this.#abandon()
      }
      if (taken === 'full') break
      const bytes = taken === 'all' ? waiting.chunk.length : taken
      this.#bytes -= bytes
      if (bytes < waiting.chunk.length) {
        waiting.chunk = waiting.chunk.subarray(bytes)
        waiting.isImportant = true
        waiting.isTorn = true
        break
      }
      waiting.outlet.written++
      waiting.outlet.atRisk--
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

  /** Waits until nothing of the outlet waits, at most `timeoutMs`. */
  async drain(outlet: Outlet, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    this.flush()
    while (outlet.atRisk > 0 && performance.now() < deadline) {
      await pause(Math.min(firstRetryMs, timeoutMs))
      this.flush()
    }
  }

  /** At the end of the process: nothing but this code runs any more. */
  flushAtExit(): void {
    this.#flushFor(exitGraceMs)
  }

  #flushFor(ms: number): void {
    const deadline = performance.now() + ms
    const sleeper = new Int32Array(new SharedArrayBuffer(4))
    this.flush()
    // A stream needs the event loop, which stands still.
    while (!this.#destination.onWritable && this.#queue.length > 0 && performance.now() < deadline) {
      Atomics.wait(sleeper, 0, 0, 1)
      this.flush()
    }
  }

  #enqueue(line: Waiting): void {
    const { outlet } = line
    const hasRoom = () => this.#bytes + line.chunk.length <= outlet.bufferBytes
    if (!hasRoom() && outlet.fullWaitMs > 0) this.#flushFor(outlet.fullWaitMs)
    while (!hasRoom() && line.isImportant && this.#evictMinor());
    if (!hasRoom() && this.#queue.length > 0) this.#drop(outlet, 1)
    else {
      if (this.#queue.length === 0) holdExit(this)
      this.#queue.push(line)
      this.#bytes += line.chunk.length
      outlet.atRisk++
    }
    this.#retryLater()
  }

  #evictMinor(): boolean {
    while (this.#firstMinor < this.#queue.length) {
      const candidate = this.#queue[this.#firstMinor]
      if (candidate && !candidate.isImportant) {
        this.#queue.splice(this.#firstMinor, 1)
        this.#bytes -= candidate.chunk.length
        this.#lose(candidate.outlet, 1)
        return true
      }
      this.#firstMinor++
    }
    return false
  }

  #retryLater(): void {
    if (this.#timer || this.#isGone) return
    this.#timer = backgroundTimeout(() => {
      this.#timer = undefined
      this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs)
      this.flush()
    }, this.#retryMs)
  }

  #rest(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    releaseExit(this)
  }

  #report(): void {
    if (this.#isGone) return
    for (const outlet of this.#outlets) {
      const count = outlet.unreported
      outlet.unreported = 0
      if (count > 0) outlet.onRecovery(count)
    }
  }

  #drop(outlet: Outlet, count: number): void {
    outlet.dropped += count
    outlet.unreported += count
  }

  /** Drops lines that waited. */
  #lose(outlet: Outlet, count: number): void {
    outlet.atRisk -= count
    this.#drop(outlet, count)
  }

  #abandon(): void {
    this.#isGone = true
    for (const { outlet } of this.#queue) this.#lose(outlet, 1)
    this.#queue = []
    this.#firstMinor = 0
    this.#bytes = 0
    this.#rest()
  }
}
