const SMALLEST_MS = 0.1
/** Neighbouring bins differ by this factor, so a quantile is off by at most half of it in proportion: 4 %. */
const GROWTH = 1.08
const LOG_GROWTH: number = Math.log(GROWTH)
/** Up to ten hours. */
const BINS = 256
const WINDOW_MS = 30_000
const MINIMUM_SAMPLES = 50
const RENEWED_AFTER = 16

/**
 * Quantiles of recent latencies from logarithmic bins with a relative error, the idea of Masson, Rim and Lee, "DDSketch"
 * (PVLDB 12, 2019). Two windows of 30 s take turns, so old latencies are forgotten without a timer.
 */
export class LatencySketch {
  #bins: Uint32Array = new Uint32Array(BINS)
  #older: Uint32Array = new Uint32Array(BINS)
  #startedAt: number = performance.now()
  #count = 0
  #olderCount = 0
  #cached: { quantile: number; value: number; validBelow: number } | undefined

  add(latencyMs: number): void {
    this.#rotate()
    const bin = Math.ceil(Math.log(latencyMs / SMALLEST_MS) / LOG_GROWTH)
    // `>` also sends the NaN and -Infinity of a latency of 0 to the first bin.
    const index = bin > 0 ? Math.min(bin, BINS - 1) : 0
    this.#bins[index] = this.#bins[index]! + 1
    this.#count++
  }

  /** Undefined until 50 samples are known. */
  quantile(quantile: number): number | undefined {
    this.#rotate()
    const count = this.#count + this.#olderCount
    if (count < MINIMUM_SAMPLES) return undefined
    if (this.#cached?.quantile === quantile && count < this.#cached.validBelow) return this.#cached.value
    const rank = Math.ceil(quantile * count)
    let seen = 0
    let bin = 0
    for (; bin < BINS - 1; bin++) {
      seen += this.#bins[bin]! + this.#older[bin]!
      if (seen >= rank) break
    }
    // The middle of the bin in proportion.
    const value = (SMALLEST_MS * GROWTH ** bin * 2) / (1 + GROWTH)
    this.#cached = { quantile, value, validBelow: count + RENEWED_AFTER }
    return value
  }

  #rotate(): void {
    const age = performance.now() - this.#startedAt
    if (age < WINDOW_MS) return
    const reused = this.#older
    this.#older = age < 2 * WINDOW_MS ? this.#bins : reused.fill(0)
    this.#olderCount = age < 2 * WINDOW_MS ? this.#count : 0
    this.#bins = this.#older === reused ? this.#bins.fill(0) : reused.fill(0)
    this.#count = 0
    this.#startedAt += age
    this.#cached = undefined
  }
}
