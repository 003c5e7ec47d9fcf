const least = 25
const first = 100
const most = 500

/**
 * A long list part by part, so that each round trip has a time limit of its own: as many at a time as get done in a small share of the limit. What
 * slows down, be it the other side or this process, gets smaller parts instead of missing its limit.
 */
export async function inSlices<T>(items: readonly T[], limitMs: number, work: (slice: readonly T[]) => Promise<void>): Promise<void> {
  let size = first
  for (let from = 0; from < items.length; ) {
    const slice = items.slice(from, from + size)
    const startedAt = performance.now()
    await work(slice)
    const tookMs = performance.now() - startedAt
    from += slice.length
    if (tookMs > limitMs / 5) size = Math.max(least, size >> 1)
    else if (tookMs < limitMs / 20) size = Math.min(most, size * 2)
  }
}
