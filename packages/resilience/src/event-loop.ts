import { backgroundInterval } from '@platform/kernel'

const EVERY_MS = 20
/** What a busy loop is late by all the time is not a stall. */
const LATE_MS = 20
/** Ticks without a running attempt after which the watch stops. */
const IDLE_TICKS = 50
/** A tick that is late by more was not stalled: its timer is gone. */
const LOST_MS = 60_000

const realNow = performance.now

/**
 * How late this process's event loop was while attempts ran. One timer for the process, and only while there are attempts; it does not hold the
 * process. Says 0 on a clock that is not the real one, such as that of fake timers.
 */
class EventLoop {
  #running = 0
  #idleTicks = 0
  #lateMs = 0
  #tickedAt = 0
  #timer: NodeJS.Timeout | undefined

  /** An attempt begins. Returns the sum of all lateness until now, for `lateMsSince`; infinite on a clock that is not the real one. */
  enter(now: number): number {
    this.#running++
    // Once a call: reaching for the global `performance` is among the dearest things that it does.
    if (performance.now !== realNow) return Number.POSITIVE_INFINITY
    if (this.#timer === undefined) {
      this.#tickedAt = now
      this.#timer = backgroundInterval(() => this.#tick(), EVERY_MS)
    }
    return this.#lateMs + this.#latenessOf(now)
  }

  leave(): void {
    this.#running--
  }

  lateMsSince(entered: number, now: number): number {
    return Math.max(0, this.#lateMs + this.#latenessOf(now) - entered)
  }

  #tick(): void {
    const now = performance.now()
    this.#lateMs += this.#latenessOf(now)
    this.#tickedAt = now
    this.#idleTicks = this.#running === 0 ? this.#idleTicks + 1 : 0
    if (this.#idleTicks < IDLE_TICKS) return
    this.#idleTicks = 0
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #latenessOf(now: number): number {
    if (this.#timer === undefined) return 0
    const lateMs = now - this.#tickedAt - EVERY_MS
    return lateMs > LATE_MS && lateMs < LOST_MS ? lateMs : 0
  }
}

export const eventLoop: EventLoop = new EventLoop()
