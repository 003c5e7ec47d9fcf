import type { Endpoint } from './endpoint.ts'

const FAILURES = 5
const BASE_MS = 30_000
const LONGEST_MS = 300_000
const LARGEST_SHARE = 0.1
const PANIC_SHARE = 0.5

/** Leaves an instance out after failures in a row (after its return one more is enough), longer each time, but never more than a tenth of them or one. */
export function ejectIfFailing(endpoint: Endpoint, all: readonly Endpoint[], now: number): boolean {
  if (endpoint.failuresInRow < FAILURES || endpoint.ejectedUntil > now) return false
  const ejected = all.filter((other) => other.ejectedUntil > now).length
  if (ejected >= Math.max(1, Math.floor(all.length * LARGEST_SHARE))) return false
  endpoint.ejections++
  endpoint.ejectedUntil = now + Math.min(LONGEST_MS, BASE_MS * endpoint.ejections)
  return true
}

/** Who may get traffic. When fewer than half would be left, all do: then the fault is more likely ours. */
export function usable(all: readonly Endpoint[], now: number): readonly Endpoint[] {
  const left = all.filter((endpoint) => endpoint.ejectedUntil <= now)
  return left.length < all.length * PANIC_SHARE ? all : left
}
