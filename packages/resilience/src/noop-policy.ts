import { attemptLayer } from './attempt.ts'
import { Call, type Work } from './call.ts'
import { runFallback } from './fallback.ts'
import type { Attempt, ExecuteOptions, Policy } from './policy.ts'

const runOnce = attemptLayer({ inFlight: 0 }, undefined)

/** Runs the work once and honours `signal` and `fallback`; limits nothing, counts nothing. */
export const noopPolicy: Policy = {
  async execute<T>(run: (attempt: Attempt) => Promise<T> | T, { signal, fallback }: ExecuteOptions<T> = {}): Promise<T> {
    const call = new Call({
      policy: 'noop',
      run: run as Work,
      signal,
      idempotent: false,
      mayRetry: false,
      priority: 0,
      timeoutMs: undefined,
      inheritedDeadlineAt: undefined,
      inheritedAttempt: 1,
    })
    call.begin()
    try {
      return (await runOnce(call)) as T
    } catch (error) {
      if (fallback === undefined || call.cancelled !== undefined) throw error
      return await runFallback(call, fallback, error)
    } finally {
      call.end()
    }
  },
  update() {},
  reset() {},
  isolate: () => () => {},
  stats: () => ({ state: 'closed', inFlight: 0, queued: 0 }),
  dispose() {},
  [Symbol.dispose]() {},
}
