import type { ResolvedAdaptive } from './resolve-options.ts'

/** A change is decided on at least so many answers and so much time. */
const WINDOW_SAMPLES = 10
const WINDOW_MS = 100
/** Windows over which the usual latency is averaged: a minute at the shortest. */
const LONG_WINDOWS = 600
const WARM_UP_WINDOWS = 10
const TOLERANCE = 1.5
const SMOOTHING = 0.2
const HEADROOM = 4
const AFTER_TIMEOUT = 0.9

/**
 * The concurrency at which latency begins to rise, found by its gradient: the method of Gradient2 in Netflix's
 * concurrency-limits. Unlike there the headroom is added only while latency is usual, else a mild overload lets the limit creep up.
 */
export class AdaptiveLimit {
  #limit: number
  #min: number
  #max: number
  #usualMs = 0
  #windows = 0
  #sumMs = 0
  #samples = 0
  #mostInFlight = 0
  #windowStartedAt: number = performance.now()
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

  answered(latencyMs: number, inFlight: number): void {
    this.#sumMs += latencyMs
    this.#samples++
    this.#mostInFlight = Math.max(this.#mostInFlight, inFlight)
    const now = performance.now()
    if (this.#samples < WINDOW_SAMPLES || now - this.#windowStartedAt < WINDOW_MS) return
    this.#update(Math.max(this.#sumMs / this.#samples, 0.001))
    this.#sumMs = this.#samples = this.#mostInFlight = 0
    this.#windowStartedAt = now
  }

  /** Many at once are one sign. */
  timedOut(): void {
    const now = performance.now()
    if (now - this.#shrunkAt < WINDOW_MS) return
    this.#shrunkAt = now
    this.#set(this.#limit * AFTER_TIMEOUT)
  }

  #update(latencyMs: number): void {
    this.#windows++
    const weight = this.#windows <= WARM_UP_WINDOWS ? 1 / this.#windows : 2 / (LONG_WINDOWS + 1)
    this.#usualMs += (latencyMs - this.#usualMs) * weight
    // After a long overload the usual latency must not stay high when it has fallen.
    if (this.#usualMs / latencyMs > 2) this.#usualMs *= 0.95
    // Few calls say nothing about how many would be too many.
    if (this.#mostInFlight < this.#limit / 2) return
    const gradient = Math.max(0.5, Math.min(1, (TOLERANCE * this.#usualMs) / latencyMs))
    const aim = gradient === 1 ? this.#limit + HEADROOM : this.#limit * gradient
    this.#set(this.#limit * (1 - SMOOTHING) + aim * SMOOTHING)
  }

  #set(limit: number): void {
    this.#limit = Math.max(this.#min, Math.min(this.#max, limit))
  }
}
