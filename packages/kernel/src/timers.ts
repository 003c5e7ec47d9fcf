import { AsyncLocalStorage } from 'node:async_hooks'

/** What setTimeout can wait for at the longest; more would fire at once. About 24.8 days. */
export const longestTimerMs = 2_147_483_647

/** The time as a timer takes it: what is over already, or no number, is now, which Node would warn of, and what is too long is as long as it can be. */
export const timerMs = (ms: number): number => (ms > 0 ? Math.min(ms, longestTimerMs) : 0)

/** Waits; rejects with the signal's reason as soon as it aborts. Holds the process: somebody awaits it. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    const onAbort = (): void => {
      clearTimeout(timer)
      reject(signal?.reason as Error)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, timerMs(ms))
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

// Outside of any caller's context: upkeep that a request happened to start would be part of its trace, and of its log lines, for ever.
const outside: (work: () => void) => void = AsyncLocalStorage.snapshot()

// The only places that let go of the process: what they wait for is work that no caller awaits. Lint forbids `unref` elsewhere.

/** The pause of a loop that nobody awaits; ends early, without an error, when the signal aborts. Whoever begins to await the loop aborts it. */
export function backgroundPause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = backgroundTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}

/** A timer that lets the process end and knows nothing of its caller's context: for upkeep and for limits of work that holds the process by itself. */
export function backgroundTimeout(work: () => void, ms: number): NodeJS.Timeout {
  return setTimeout(() => outside(work), timerMs(ms)).unref()
}

/** Upkeep every `ms`; lets the process end. */
export function backgroundInterval(work: () => void, ms: number): NodeJS.Timeout {
  return setInterval(() => outside(work), timerMs(ms)).unref()
}

/** What holds a process open (a worker, a socket) and must not: nobody awaits its end. */
export function background<T extends { unref(): unknown }>(handle: T): T {
  handle.unref()
  return handle
}

/** One of several limits, in the order of their ends. */
interface Limit {
  readonly at: number
  readonly onLate: () => void
  earlier: Limit | undefined
  later: Limit | undefined
  open: boolean
}

/**
 * For limits that are all equally long and nearly always kept: one timer for all of them, set again only when it has run out. `begin` takes what is
 * to be done when the time is over, and when the time began (`performance.now()`, for who knows it already); it returns what ends the limit. An event that came while this process stood still is heard first. Holds the
 * process while a limit is open, as a timer of its own would.
 */
export function equalDeadlines(ms: number): (onLate: () => void, begunAt?: number) => () => void {
  // A list and no Set: one that is filled and emptied all the time leaves a chain of old tables behind, which only a full collection takes away.
  let first: Limit | undefined
  let last: Limit | undefined
  let timer: NodeJS.Timeout | undefined
  const leave = (limit: Limit): void => {
    limit.open = false
    if (limit.earlier) limit.earlier.later = limit.later
    else first = limit.later
    if (limit.later) limit.later.earlier = limit.earlier
    else last = limit.earlier
  }
  const arm = (waitMs: number): void =>
    outside(() => {
      timer = setTimeout(() => setImmediate(check), timerMs(waitMs))
    })
  const check = (): void => {
    timer = undefined
    const now = performance.now()
    for (let limit = first; limit; limit = first) {
      if (limit.at > now) return arm(Math.max(1, limit.at - now))
      leave(limit)
      limit.onLate()
    }
  }
  return (onLate, begunAt = performance.now()) => {
    const limit: Limit = { at: begunAt + ms, onLate, earlier: last, later: undefined, open: true }
    if (last) last.later = limit
    else first = limit
    last = limit
    if (timer === undefined) arm(ms)
    else if (first === limit) timer.ref()
    return () => {
      if (!limit.open) return
      leave(limit)
      if (!first) timer?.unref()
    }
  }
}
