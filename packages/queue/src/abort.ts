/** The caller leaves at once; what arrives late goes to `release`. */
export async function orAborted<T>(
  work: Promise<T>,
  signals: readonly (AbortSignal | undefined)[],
  release?: (late: T) => Promise<void>,
): Promise<T> {
  const present = signals.filter((signal) => signal !== undefined)
  const listeners: (() => void)[] = []
  try {
    return await new Promise<T>((resolve, reject) => {
      let left = false
      for (const signal of present) {
        const leave = (): void => {
          left = true
          reject(signal.reason as Error)
        }
        signal.addEventListener('abort', leave, { once: true })
        listeners.push(() => signal.removeEventListener('abort', leave))
        if (signal.aborted) leave()
      }
      work.then((value) => {
        if (left) void release?.(value).catch(() => {})
        else resolve(value)
      }, reject)
    })
  } finally {
    for (const remove of listeners) remove()
  }
}
