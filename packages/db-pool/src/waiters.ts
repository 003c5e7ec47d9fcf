import type { Trace } from './place.ts'
import type { Session } from './session.ts'

/** How long before a timeout it is announced, at most half of the time. */
const noticeMs = 500

/** One caller in the queue. */
export interface Waiter {
  resolve(session: Session): void
  reject(reason: unknown): void
  readonly since: number
  readonly signal: AbortSignal | undefined
  /** Where it waits. */
  readonly trace: Trace | undefined
  onAbort: (() => void) | undefined
  previous: Waiter | undefined
  next: Waiter | undefined
  queued: boolean
}

/**
 * First come, first served. A linked list, so that leaving the middle (an abort) costs the same for 20 or 20,000 waiters.
 * All wait equally long, so the head always times out first and one timer is enough. It holds the process: somebody waits.
 */
export class WaiterQueue {
  readonly #timeoutMs: number
  readonly #noticeMs: number
  readonly #onNotice: () => void
  readonly #onTimeout: (waiter: Waiter) => void
  readonly #onLeft: () => void
  #head: Waiter | undefined
  #tail: Waiter | undefined
  #timer: NodeJS.Timeout | undefined
  size = 0

  /** `onNotice`: somebody will have waited for too long in a moment. */
  constructor(timeoutMs: number, onNotice: () => void, onTimeout: (waiter: Waiter) => void, onLeft: () => void) {
    this.#timeoutMs = timeoutMs
    this.#noticeMs = Math.min(noticeMs, timeoutMs / 2)
    this.#onNotice = onNotice
    this.#onTimeout = onTimeout
    this.#onLeft = onLeft
  }

  /** How long the oldest has waited, ms. */
  get oldestMs(): number {
    return this.#head === undefined ? 0 : performance.now() - this.#head.since
  }

  push(signal: AbortSignal | undefined, trace?: Trace): Promise<Session> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        since: performance.now(),
        signal,
        trace,
        onAbort: undefined,
        previous: this.#tail,
        next: undefined,
        queued: true,
      }
      if (signal !== undefined) {
        waiter.onAbort = (): void => {
          this.remove(waiter)
          reject(signal.reason)
          this.#onLeft()
        }
        signal.addEventListener('abort', waiter.onAbort, { once: true })
      }
      if (this.#tail === undefined) this.#head = waiter
      else this.#tail.next = waiter
      this.#tail = waiter
      this.size++
      this.#arm()
    })
  }

  /** The oldest waiter leaves the queue. */
  shift(): Waiter | undefined {
    const head = this.#head
    if (head !== undefined) this.remove(head)
    return head
  }

  remove(waiter: Waiter): void {
    if (!waiter.queued) return
    waiter.queued = false
    this.size--
    if (waiter.previous === undefined) this.#head = waiter.next
    else waiter.previous.next = waiter.next
    if (waiter.next === undefined) this.#tail = waiter.previous
    else waiter.next.previous = waiter.previous
    waiter.previous = waiter.next = undefined
    if (waiter.onAbort !== undefined) waiter.signal?.removeEventListener('abort', waiter.onAbort)
    if (this.size === 0) {
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }

  rejectAll(reason: () => unknown): void {
    for (let waiter = this.shift(); waiter !== undefined; waiter = this.shift()) waiter.reject(reason())
  }

  /** The timer may fire for a head that has left since: it then just sets itself anew. */
  #arm(): void {
    if (this.#timer !== undefined || this.#head === undefined) return
    const dueMs = this.#dueMs(this.#head)
    this.#timer = setTimeout(() => this.#expire(), Math.max(1, Math.ceil(dueMs > this.#noticeMs ? dueMs - this.#noticeMs : dueMs)))
  }

  #expire(): void {
    this.#timer = undefined
    while (this.#head !== undefined && this.#dueMs(this.#head) <= 0) {
      const waiter = this.#head
      this.remove(waiter)
      this.#onTimeout(waiter)
      this.#onLeft()
    }
    if (this.#head !== undefined && this.#dueMs(this.#head) <= this.#noticeMs) this.#onNotice()
    this.#arm()
  }

  #dueMs(waiter: Waiter): number {
    return waiter.since + this.#timeoutMs - performance.now()
  }
}
