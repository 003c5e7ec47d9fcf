import type { Endpoint } from './endpoint.ts'

export type BalancerName = 'p2c-ewma' | 'round-robin'
/** From a list that is not empty. */
export type Balancer = (candidates: readonly Endpoint[], now: number) => Endpoint

export const balancers: Record<BalancerName, () => Balancer> = { 'p2c-ewma': () => powerOfTwo, 'round-robin': roundRobin }

/** Above this an instance has failed within the last seconds. */
const FRESH_PENALTY_MS = 500

/** The cheaper of two at random: nearly as good as looking at all, and many clients do not rush to the same one. */
function powerOfTwo(candidates: readonly Endpoint[], now: number): Endpoint {
  const [a, b] = twoOf(candidates)
  if (!failedFreshly(a, now) && !failedFreshly(b, now)) return cheaper(a, b, now)
  // Beside a failing instance a slow one would look good, so two others are drawn as long as at least half are left.
  const calm = candidates.filter((endpoint) => !failedFreshly(endpoint, now))
  return calm.length * 2 < candidates.length ? cheaper(a, b, now) : cheaper(...twoOf(calm), now)
}

/** Twice the same when there is but one. */
function twoOf(candidates: readonly Endpoint[]): [Endpoint, Endpoint] {
  const { length } = candidates
  const first = Math.floor(Math.random() * length)
  const second = length === 1 ? first : (first + 1 + Math.floor(Math.random() * (length - 1))) % length
  return [candidates[first]!, candidates[second]!]
}

function cheaper(a: Endpoint, b: Endpoint, now: number): Endpoint {
  return a.cost(now) <= b.cost(now) ? a : b
}

function failedFreshly(endpoint: Endpoint, now: number): boolean {
  return endpoint.penaltyMs(now) > FRESH_PENALTY_MS
}

function roundRobin(): Balancer {
  let turn = 0
  return (candidates) => candidates[turn++ % candidates.length]!
}
