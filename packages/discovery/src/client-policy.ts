import { type Outcome, type PolicyOptions, retryBudget } from '@platform/resilience'
import { DiscoveryError } from './errors.ts'

const retryableStatus = new Set([502, 503, 504])

/** The caller's policy, with what only a client of a service can know filled in where nothing was said. */
export function clientPolicy(
  service: string,
  given: PolicyOptions = { timeoutMs: 10_000, retry: { maxAttempts: 3, initialDelayMs: 25, maxDelayMs: 1000 } },
): PolicyOptions {
  const { retry, breaker } = given
  return {
    ...given,
    name: given.name ?? service,
    // Wide enough for all requests in flight to an instance that dies; each that succeeds elsewhere gives its part back.
    retry: retry && {
      ...retry,
      shouldHandle: retry.shouldHandle ?? isRetryable,
      budget: retry.budget ?? retryBudget({ capacity: 1000, retryCost: 5 }),
    },
    breaker: breaker === undefined || 'admit' in breaker ? breaker : { ...breaker, shouldHandle: breaker.shouldHandle ?? isFailure },
  }
}

function isRetryable(outcome: Outcome): boolean {
  return outcome.ok ? retryableStatus.has((outcome.value as Response).status) : !DiscoveryError.isInstance(outcome.error)
}

function isFailure(outcome: Outcome): boolean {
  return outcome.ok ? (outcome.value as Response).status >= 500 : !DiscoveryError.isInstance(outcome.error)
}
