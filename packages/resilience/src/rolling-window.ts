const BUCKETS = 10
const FINISHED = 0
const FAILED = 1
const SLOW = 2
const FIELDS = 3

/** Finished calls of the last while in a fixed ring of ten buckets with running sums; turned when it is written or read, never by a timer. */
export class RollingWindow {
  finished = 0
  failed = 0
  /** Failed or not. */
  slow = 0
  readonly #ring: number[] = Array.from({ length: BUCKETS * FIELDS }, () => 0)
  #newest = 0
  #startedAt: number = performance.now()

  add(failed: boolean, slow: boolean): void {
    const at = this.#newest * FIELDS
    this.#ring[at + FINISHED]!++
    this.finished++
    if (failed) {
      this.#ring[at + FAILED]!++
      this.failed++
    }
    if (slow) {
      this.#ring[at + SLOW]!++
      this.slow++
    }
  }

  /** Forgets what is older than `lengthMs`. Whether all was. */
  rotate(now: number, lengthMs: number): boolean {
    const bucketMs = lengthMs / BUCKETS
    const passed = Math.floor((now - this.#startedAt) / bucketMs)
    if (passed <= 0) return false
    this.#startedAt += passed * bucketMs
    for (let turned = Math.min(passed, BUCKETS); turned > 0; turned--) {
      this.#newest = (this.#newest + 1) % BUCKETS
      this.#drop(this.#newest * FIELDS)
    }
    return passed >= BUCKETS
  }

  clear(now: number): void {
    this.#ring.fill(0)
    this.finished = this.failed = this.slow = 0
    this.#startedAt = now
  }

  #drop(at: number): void {
    this.finished -= this.#ring[at + FINISHED]!
    this.failed -= this.#ring[at + FAILED]!
    this.slow -= this.#ring[at + SLOW]!
    this.#ring.fill(0, at, at + FIELDS)
  }
}
