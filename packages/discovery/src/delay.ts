/** Resolves after the time or when the signal aborts, whichever comes first. Does not hold the process. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms).unref()
    signal.addEventListener('abort', done)
  })
}

/** Between half of the time and all of it, so that many processes do not come at once. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}

/** The promise, or the signal's reason if that comes first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  if (signal.aborted) return Promise.reject(signal.reason)
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort)
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
