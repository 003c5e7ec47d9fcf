import type { Call } from './call.ts'

/** A fallback that fails as well must not hide why it was needed. */
export async function runFallback<T>(call: Call, fallback: (error: unknown) => Promise<T> | T, first: unknown): Promise<T> {
  call.cancelled = undefined
  try {
    return await call.race(fallback(first), false)
  } catch (second) {
    if (call.cancelled !== undefined || second === first || (second as { cause?: unknown } | null | undefined)?.cause === first)
      throw second
    throw new AggregateError([first, second], `${call.policy}: the work failed, and so did its fallback`, { cause: first })
  }
}
