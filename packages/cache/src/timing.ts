import { CacheError } from './errors.ts'

/** Rejects with ERR_CACHE_UNAVAILABLE after `timeoutMs`; `late` gets a result that comes after that. */
export function within<T>(work: Promise<T>, timeoutMs: number, late?: (result: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      reject(new CacheError('ERR_CACHE_UNAVAILABLE', `no answer within ${timeoutMs} ms`))
    }, timeoutMs).unref()
    work.then(
      (result) => {
        clearTimeout(timer)
        if (timedOut) late?.(result)
        else resolve(result)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(error as Error)
      },
    )
  })
}

/** The caller's own reason at once; the work goes on. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    work.then(
      (result) => {
        signal.removeEventListener('abort', onAbort)
        resolve(result)
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort)
        reject(error as Error)
      },
    )
  })
}

export function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs)
  })
}
