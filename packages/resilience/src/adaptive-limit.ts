import type { ResolvedAdaptive } from './resolve-options.ts'
import type { Verdict } from './verdict.ts'

/** A window is at least so long and holds as many answers as may run at once, within these bounds. */
const WINDOW_MS = 100
const WINDOW_ANSWERS = 10
const MOST_ANSWERS = 50
/** Above so many times the latency without a queue the dependency has one. */
const CONGESTED = 1.5
/** Room above what keeps it busy, so that chance does not leave it idle. */
const ROOM = 1.25
const ROOM_CALLS = 2
const GROWTH = 1.1
/** A look at half the concurrency that is not faster by this much found no queue. */
const FASTER = 0.85
const LOOK_EVERY_MS = 10_000
/** By which the highest throughput seen fades with each window. */
const FADE = 0.98
const AFTER_OVERLOAD = 0.9

/** A look at lower concurrency, for the latency without a queue. */
interface Look {
  readonly from: number
  /** Mean latency at twice the concurrency. */
  readonly beforeMs: number
  /** Where it was not faster than at this concurrency; a second look must say the same, as the first may have been chance. */
  readonly enough: number | undefined
}

/**
 * The concurrency that a dependency can take: its throughput times its latency without a queue (Little's law), as in BBR for connections
 * (Cardwell and others, ACM Queue 2016). That latency cannot be seen while there is a queue, so when the limit is in use it is halved for a
 * window from time to time, and again while that makes answers faster. A mean over the past would learn the overload as the usual.
 */
export class AdaptiveLimit {
  #limit: number
  #min: number
  #max: number
  #unqueuedMs: number | undefined
  #peakPerMs = 0
  #look: Look | undefined
  #lookedAt = Number.NEGATIVE_INFINITY
  #lookedFrom = 0
  /** Answers to calls that began before it say nothing about the limit of now. */
  #windowFrom: number = performance.now()
  #sumMs = 0
  #measured = 0
  #answered = 0
  #mostInFlight = 0
  #shrunkAt = Number.NEGATIVE_INFINITY

  constructor({ minConcurrent, initialConcurrent }: ResolvedAdaptive, maxConcurrent: number) {
    this.#min = minConcurrent
    this.#max = maxConcurrent
    this.#limit = initialConcurrent
  }

  get limit(): number {
    return Math.floor(this.#limit)
  }

  bound({ minConcurrent }: ResolvedAdaptive, maxConcurrent: number): void {
    this.#min = minConcurrent
    this.#max = maxConcurrent
    this.#set(this.#limit)
  }

  /** `inFlight` when it began. */
  ended(verdict: Verdict, tookMs: number, inFlight: number, startedAt: number): void {
    const now = performance.now()
    if (verdict === 'timed-out' || verdict === 'refused') return this.#overloaded(now)
    if (verdict !== 'answered') return
    this.#answered++
    this.#mostInFlight = Math.max(this.#mostInFlight, inFlight)
    if (startedAt >= this.#windowFrom || this.#look === undefined) {
      this.#sumMs += tookMs
      this.#measured++
    }
    const elapsedMs = now - this.#windowFrom
    if (elapsedMs < WINDOW_MS || this.#measured < Math.min(MOST_ANSWERS, Math.max(WINDOW_ANSWERS, this.#limit))) return
    const meanMs = Math.max(this.#sumMs / this.#measured, 0.001)
    const perMs = this.#answered / elapsedMs
    // Few calls say nothing about how many would be too many.
    const inUse = this.#mostInFlight >= Math.floor(this.#limit) * 0.9
    this.#beginWindow(now)
    if (this.#look !== undefined) this.#looked(this.#look, meanMs, now)
    else if (inUse) this.#update(meanMs, perMs, now)
  }

  /** Many at once are one sign. */
  #overloaded(now: number): void {
    if (now - this.#shrunkAt < WINDOW_MS) return
    this.#shrunkAt = now
    this.#set(this.#limit * AFTER_OVERLOAD)
  }

  #update(meanMs: number, perMs: number, now: number): void {
    this.#peakPerMs = Math.max(perMs, this.#peakPerMs * FADE)
    if (this.#unqueuedMs === undefined || now - this.#lookedAt >= LOOK_EVERY_MS || this.#limit < this.#lookedFrom / 2) {
      this.#lookedFrom = this.#limit
      this.#lookCloser({ from: this.#limit, beforeMs: meanMs, enough: undefined })
      return
    }
    const busyWith = this.#peakPerMs * this.#unqueuedMs * ROOM + ROOM_CALLS
    if (meanMs > this.#unqueuedMs * CONGESTED) this.#set(Math.min(this.#limit, (this.#limit + busyWith) / 2))
    else this.#set(Math.max(this.#limit + 1, this.#limit * GROWTH))
  }

  #looked(look: Look, meanMs: number, now: number): void {
    const { from, beforeMs, enough } = look
    const faster = meanMs < beforeMs * FASTER
    if (this.#limit > this.#min && (faster || enough === undefined)) {
      this.#lookCloser({ from, beforeMs: Math.min(beforeMs, meanMs), enough: faster ? undefined : this.#limit * 2 })
      return
    }
    this.#look = undefined
    this.#lookedAt = now
    this.#unqueuedMs = Math.min(meanMs, beforeMs)
    this.#peakPerMs = 0
    this.#set(Math.min(from, enough ?? this.#limit * 2))
    this.#lookedFrom = this.#limit
  }

  #lookCloser(look: Look): void {
    this.#look = look
    this.#set(Math.ceil(this.#limit / 2))
  }

  #beginWindow(now: number): void {
    this.#windowFrom = now
    this.#sumMs = this.#measured = this.#answered = this.#mostInFlight = 0
  }

  #set(limit: number): void {
    this.#limit = Math.max(this.#min, Math.min(this.#max, limit))
  }
}
