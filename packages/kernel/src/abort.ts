import { longestTimerMs } from './timers.ts'

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
  const timer = setTimeout(() => controller.abort(timeoutError()), Math.min(ms, longestTimerMs))
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
    const timer = setTimeout(() => resolve(false), Math.min(ms, longestTimerMs))
    const settled = (): void => {
      clearTimeout(timer)
      resolve(true)
    }
    promise.then(settled, settled)
  })
}
