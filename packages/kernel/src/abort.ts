import { timerMs } from './timers.ts'

/**
 * The work's result, or the signal's reason as soon as it aborts. The work goes on: a result that comes after that is handed to `late`, a late
 * rejection is nobody's. Leaves no listener behind.
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined, late?: (result: T) => void): Promise<T> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    let left = false
    const leave = (): void => {
      left = true
      reject(signal.reason as Error)
    }
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
    work.then(
      (result) => {
        signal.removeEventListener('abort', leave)
        if (left) late?.(result)
        else resolve(result)
      },
      (error: unknown) => {
        signal.removeEventListener('abort', leave)
        reject(error as Error)
      },
    )
  })
}

/**
 * For work that many wait for, perhaps for long: each wait as `orAborted` would, but whoever gives up leaves nothing behind on the promise, where a
 * `then` of its own would stay until the work ends.
 */
export function awaitedByMany<T>(work: Promise<T>): (signal?: AbortSignal) => Promise<T> {
  const waiters = new Set<{ resolve(result: T): void; reject(error: Error): void }>()
  let over = false
  work.then(
    (result) => {
      over = true
      for (const { resolve } of waiters) resolve(result)
    },
    (error: unknown) => {
      over = true
      for (const { reject } of waiters) reject(error as Error)
    },
  )
  return (signal) => {
    if (over || signal === undefined) return work
    if (signal.aborted) return Promise.reject(signal.reason as Error)
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject }
      const leave = (): void => {
        waiters.delete(waiter)
        reject(signal.reason as Error)
      }
      waiter.resolve = (result) => {
        signal.removeEventListener('abort', leave)
        resolve(result)
      }
      waiter.reject = (error) => {
        signal.removeEventListener('abort', leave)
        reject(error)
      }
      signal.addEventListener('abort', leave, { once: true })
      waiters.add(waiter)
    })
  }
}

/**
 * Runs the work with a signal that aborts after the time, with `timeoutError()`, or with the caller's signal, with its reason; rejects at that
 * moment whether the work listens or not. Holds the process until then: a caller waits for it.
 */
export async function withDeadline<T>(
  ms: number,
  timeoutError: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
  late?: (result: T) => void,
): Promise<T> {
  signal?.throwIfAborted()
  const controller = new AbortController()
  const forward = (): void => controller.abort(signal?.reason)
  signal?.addEventListener('abort', forward, { once: true })
  const timer = setTimeout(() => controller.abort(timeoutError()), timerMs(ms))
  try {
    return await orAborted(
      Promise.resolve().then(() => work(controller.signal)),
      controller.signal,
      late,
    )
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', forward)
  }
}

/** Whether the promise settled, either way, before the time was up. Holds the process until then. */
export function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), timerMs(ms))
    const settled = (): void => {
      clearTimeout(timer)
      resolve(true)
    }
    promise.then(settled, settled)
  })
}
