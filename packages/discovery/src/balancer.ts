import type { Endpoint } from './endpoint.ts'

export type BalancerName = 'p2c-ewma' | 'round-robin'

export interface Balancer {
  /** Where in the table of weights to look first, from 0 up to 1. `alike`: how many there are, if all weigh the same. */
  next(alike: number | undefined): number
  /** Whether one that failed within the last seconds is passed over while there are others. */
  readonly avoidsFailing: boolean
  /** Whether the second, drawn by chance, takes the place of the first, drawn by weight. */
  prefersSecond(first: Endpoint, second: Endpoint, now: number): boolean
}

export const balancers: Record<BalancerName, () => Balancer> = { 'p2c-ewma': () => powerOfTwo, 'round-robin': roundRobin }

/** An instance that is so many times as expensive is left out whatever its weight. */
const CLEARLY = 3

/**
 * The cheaper of two: nearly as good as looking at all, and many clients do not rush to the same one. The first is drawn by weight. Between alike
 * instances the step to a lighter one is taken as much more seldom as it is lighter, so that the shares stay those of the weights (the rule of
 * Metropolis and others, 1953).
 */
const powerOfTwo: Balancer = {
  next: Math.random,
  avoidsFailing: true,
  prefersSecond(first, second, now) {
    const [a, b] = [first.cost(now), second.cost(now)]
    if (a <= b) return false
    return a > b * CLEARLY || Math.random() * first.weight < second.weight
  },
}

/** The golden ratio's multiples fall between each other evenly, so that weights are met in any stretch of requests. */
const STEP = (Math.sqrt(5) - 1) / 2

function roundRobin(): Balancer {
  let at = Math.random()
  let turn = Math.floor(at * 2 ** 20)
  return {
    next: (alike) => (alike === undefined ? (at = (at + STEP) % 1) : ((turn++ % alike) + 0.5) / alike),
    avoidsFailing: false,
    prefersSecond: () => false,
  }
}
