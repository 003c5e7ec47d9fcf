import { type Outcome, type PolicyOptions, retryBudget } from '@platform/resilience'
import { DiscoveryError } from './errors.ts'

const retryableStatus = new Set([502, 503, 504])

export const defaultPolicy: PolicyOptions = {
  timeoutMs: 10_000,
  attemptTimeoutMs: 3000,
  retry: { maxAttempts: 3, initialDelayMs: 25, maxDelayMs: 1000 },
}

/** What only a client of a service can say of an outcome. */
export interface ClientKnowledge {
  /** Whether a further attempt has somebody else to go to. */
  elsewhere(outcome: Outcome): boolean
  /** Whether it is an error that this side made. */
  isOurFault(error: unknown): boolean
}

/** The caller's policy, with what only a client of a service can know filled in where nothing was said. */
export function clientPolicy(service: string, given: PolicyOptions, knows: ClientKnowledge): PolicyOptions {
  const { elsewhere } = knows
  const { retry, breaker } = given
  return {
    ...given,
    name: given.name ?? service,
    // Wide enough, once it is earned, for all requests in flight to an instance that dies; each that succeeds elsewhere gives its part back.
    retry: retry && {
      ...retry,
      shouldHandle: retry.shouldHandle ?? ((outcome) => isRetryable(outcome, knows)),
      elsewhere: retry.elsewhere ?? elsewhere,
      budget: retry.budget ?? retryBudget({ capacity: 1000, initialTokens: 25, retryCost: 5 }),
    },
    breaker:
      breaker === undefined || 'admit' in breaker
        ? breaker
        : { ...breaker, shouldHandle: breaker.shouldHandle ?? ((outcome) => isFailure(outcome, knows)) },
  }
}

function isRetryable(outcome: Outcome, { elsewhere, isOurFault }: ClientKnowledge): boolean {
  if (!outcome.ok) return !DiscoveryError.isInstance(outcome.error) && !isOurFault(outcome.error)
  const { status } = outcome.value as Response
  return retryableStatus.has(status) || (status === 429 && elsewhere(outcome))
}

function isFailure(outcome: Outcome, { isOurFault }: ClientKnowledge): boolean {
  if (outcome.ok) return (outcome.value as Response).status >= 500
  return !DiscoveryError.isInstance(outcome.error) && !isOurFault(outcome.error)
}
