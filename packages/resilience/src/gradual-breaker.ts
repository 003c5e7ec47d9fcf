import type { Permit, Transition, Verdict } from './circuit-breaker.ts'
import { localRejection, type ResilienceError } from './errors.ts'
import type { ResolvedGradualBreaker } from './resolve-options.ts'

const BUCKETS = 10
/** Without successes one call in a hundred still passes, so that a recovery is noticed. */
const LARGEST_PART = 0.99

/**
 * Rejects the part of the calls that the dependency would not answer anyway, instead of all or none: with probability
 * (requests - allowance × accepted) / (requests + 1), the client-side throttling of "Site Reliability Engineering" (O'Reilly 2016,
 * chapter 21). There is no
 * half-open: each success lets more calls through.
 */
export class GradualBreaker {
  settings: ResolvedGradualBreaker
  readonly #policy: string
  /** Finished or rejected here. Calls in flight are not counted, or a burst at the start would look like an outage. */
  #requests: number[] = emptyWindow()
  #accepted: number[] = emptyWindow()
  #newest = 0
  #bucketStartedAt: number = performance.now()
  #permit: Permit = { generation: 0, lease: undefined }

  constructor(policy: string, settings: ResolvedGradualBreaker) {
    this.#policy = policy
    this.settings = settings
  }

  /** `half-open` while it rejects a part. */
  get state(): Transition {
    this.#rotate()
    return this.#rejectedPart() > 0 ? 'half-open' : 'closed'
  }

  /** Never before a call is set up: a rejected call is counted too. */
  get refusal(): undefined {
    return undefined
  }

  admit(): Permit {
    this.#rotate()
    const part = this.#rejectedPart()
    if (part === 0 || Math.random() >= part) return this.#permit
    this.#requests[this.#newest]!++
    throw this.#rejection(part)
  }

  record(permit: Permit, verdict: Verdict): void {
    if (permit.generation !== this.#permit.generation || verdict === 'neutral') return
    this.#rotate()
    this.#requests[this.#newest]!++
    if (verdict === 'success') this.#accepted[this.#newest]!++
  }

  reset(): void {
    this.#requests = emptyWindow()
    this.#accepted = emptyWindow()
    this.#permit = { generation: this.#permit.generation + 1, lease: undefined }
  }

  dispose(): void {}

  #rejectedPart(): number {
    let requests = 0
    let accepted = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      requests += this.#requests[bucket]!
      accepted += this.#accepted[bucket]!
    }
    if (requests < this.settings.minimumThroughput) return 0
    return Math.min(LARGEST_PART, Math.max(0, (requests - this.settings.allowance * accepted) / (requests + 1)))
  }

  #rotate(): void {
    const bucketMs = this.settings.samplingDurationMs / BUCKETS
    const passed = Math.floor((performance.now() - this.#bucketStartedAt) / bucketMs)
    if (passed <= 0) return
    this.#bucketStartedAt += passed * bucketMs
    for (let rotated = 0; rotated < Math.min(passed, BUCKETS); rotated++) {
      this.#newest = (this.#newest + 1) % BUCKETS
      this.#requests[this.#newest] = this.#accepted[this.#newest] = 0
    }
  }

  #rejection(part: number): ResilienceError {
    const message = `${this.#policy}: the circuit lets ${Math.round((1 - part) * 100)} % of the calls through`
    return localRejection('ERR_RESILIENCE_CIRCUIT_OPEN', message, { policy: this.#policy, retryAfterMs: 0 })
  }
}

function emptyWindow(): number[] {
  return Array.from({ length: BUCKETS }, () => 0)
}
