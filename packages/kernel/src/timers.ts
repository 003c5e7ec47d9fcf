import { AsyncLocalStorage } from 'node:async_hooks'

/** What setTimeout can wait for at the longest; more would fire at once. About 24.8 days. */
export const longestTimerMs = 2_147_483_647

/** The time as a timer takes it: what is over already is now, which Node would warn of, and what is too long is as long as it can be. */
export const timerMs = (ms: number): number => Math.min(Math.max(0, ms), longestTimerMs)

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

/**
 * For limits that are all equally long and nearly always kept: one timer for all of them, set again only when it has run out. `begin` takes what is
 * to be done when the time is over, and returns what ends the limit. An event that came while this process stood still is heard first. Holds the
 * process while a limit is open, as a timer of its own would.
 */
export function equalDeadlines(ms: number): (onLate: () => void) => () => void {
  const open = new Set<{ readonly at: number; readonly onLate: () => void }>()
  let timer: NodeJS.Timeout | undefined
  const arm = (waitMs: number): void =>
    outside(() => {
      timer = setTimeout(() => setImmediate(check), timerMs(waitMs))
    })
  const check = (): void => {
    timer = undefined
    const now = performance.now()
    // In the order of their beginning, which is that of their ends.
    for (const limit of open) {
      if (limit.at > now) return arm(Math.max(1, limit.at - now))
      open.delete(limit)
      limit.onLate()
    }
  }
  return (onLate) => {
    const limit = { at: performance.now() + ms, onLate }
    open.add(limit)
    if (timer === undefined) arm(ms)
    else if (open.size === 1) timer.ref()
    return () => {
      open.delete(limit)
      if (open.size === 0) timer?.unref()
    }
  }
}
