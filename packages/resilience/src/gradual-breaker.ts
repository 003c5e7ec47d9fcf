import type { Breaker, Permit, Transition } from './breaker.ts'
import { localRejection, type ResilienceError } from './errors.ts'
import type { ResolvedGradualBreaker } from './resolve-options.ts'
import { RollingWindow } from './rolling-window.ts'
import type { Verdict } from './verdict.ts'

/** Without successes one call in a hundred still passes, so that a recovery is noticed. */
const LARGEST_PART = 0.99

/**
 * Rejects the part of the calls that the dependency would not answer anyway, instead of all or none: with probability
 * (requests - allowance × accepted) / (requests + 1), the client-side throttling of "Site Reliability Engineering" (O'Reilly 2016,
 * chapter 21). There is no half-open: each success lets more calls through.
 */
export class GradualBreaker implements Breaker {
  settings: ResolvedGradualBreaker
  readonly #policy: string
  /** Finished or rejected here; both kinds that bring no answer are `failed`. Calls in flight would make a burst look like an outage. */
  readonly #window = new RollingWindow()
  #permit: Permit = {}

  constructor(policy: string, settings: ResolvedGradualBreaker) {
    this.#policy = policy
    this.settings = settings
  }

  /** `half-open` while it rejects a part. */
  get state(): Transition {
    return this.#rejectedPart() > 0 ? 'half-open' : 'closed'
  }

  /** Never before a call is set up: a rejected call is counted too. */
  get refusal(): undefined {
    return undefined
  }

  admit(): Permit {
    const part = this.#rejectedPart()
    if (part === 0 || Math.random() >= part) return this.#permit
    this.#window.add(true, false)
    throw this.#rejection(part)
  }

  record(permit: Permit, verdict: Verdict, _: number, now: number = performance.now()): void {
    if (permit !== this.#permit || verdict === 'not-wanted' || verdict === 'stalled' || verdict === 'too-slow') return
    this.#window.rotate(now, this.settings.samplingDurationMs)
    this.#window.add(verdict !== 'answered', false)
  }

  reset(): void {
    this.#window.clear(performance.now())
    this.#permit = {}
  }

  dispose(): void {}

  #rejectedPart(): number {
    const { samplingDurationMs, minimumThroughput, allowance } = this.settings
    this.#window.rotate(performance.now(), samplingDurationMs)
    const { finished, failed } = this.#window
    if (finished < minimumThroughput) return 0
    return Math.min(LARGEST_PART, Math.max(0, (finished - allowance * (finished - failed)) / (finished + 1)))
  }

  #rejection(part: number): ResilienceError {
    const message = `${this.#policy}: the circuit lets ${Math.round((1 - part) * 100)} % of the calls through`
    return localRejection('ERR_RESILIENCE_CIRCUIT_OPEN', message, { policy: this.#policy, retryAfterMs: 0 })
  }
}
