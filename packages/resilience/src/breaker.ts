import type { ResilienceError } from './errors.ts'
import type { Outcome } from './policy.ts'
import type { Verdict } from './verdict.ts'

export type Transition = 'open' | 'half-open' | 'closed'

/** What an admitted call brings back with its verdict. Only its own breaker looks inside. */
export type Permit = object

/** The contract of the breakers that a policy can be given. `breaker-contract.fixture.ts` is the suite that each of them passes. */
export interface Breaker {
  readonly settings: { readonly shouldHandle: ((outcome: Outcome) => boolean) | undefined }
  readonly state: Transition
  /** A rejection that is certain before a call is set up. */
  readonly refusal: ResilienceError | undefined
  /** Throws ERR_RESILIENCE_CIRCUIT_OPEN when the call may not go. Nobody is parked. */
  admit(): Permit
  /** Called once per permit. What was admitted in an earlier state changes nothing. `endedAt` saves a reading of the monotonic clock. */
  record(permit: Permit, verdict: Verdict, tookMs: number, endedAt?: number): void
  /** Closed, with nothing remembered. */
  reset(): void
  dispose(): void
}
