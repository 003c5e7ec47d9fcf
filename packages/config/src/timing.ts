/** Resolves after the time or when the signal aborts, whichever comes first. Does not hold the process. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms).unref()
    signal?.addEventListener('abort', done)
  })
}

/** Between half of the time and all of it, so that many processes do not come at once. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}

/** An aborted caller leaves at once with its own reason. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  work.catch(() => {})
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason as Error)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/**
 * Runs with a signal that aborts after the time or with the given one; rejects at that moment, whether the work listens or not.
 * Unlike `AbortSignal.timeout` it holds the process, so that a start that waits does not end it, unless told otherwise.
 */
export async function within<T>(
  ms: number,
  signal: AbortSignal | undefined,
  late: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
  unref = false,
): Promise<T> {
  const controller = new AbortController()
  const onAbort = () => controller.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()
  const timer = setTimeout(() => controller.abort(late()), ms)
  if (unref) timer.unref()
  try {
    return await orAborted(
      Promise.resolve().then(() => work(controller.signal)),
      controller.signal,
    )
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
}
