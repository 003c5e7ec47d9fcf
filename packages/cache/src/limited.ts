import { CacheError } from './errors.ts'

/**
 * Rejects with ERR_CACHE_UNAVAILABLE after `timeoutMs`; `late` gets a result that comes after that. What came while this process stood still is heard
 * first.
 */
export function limited<T>(work: Promise<T>, timeoutMs: number, late?: (result: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let over = false
    const timer = setTimeout(() => setImmediate(end), timeoutMs)
    const end = (): void => {
      over = true
      reject(tooLate(timeoutMs))
    }
    work.then(
      (result) => {
        if (over) return late?.(result)
        clearTimeout(timer)
        resolve(result)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(error as Error)
      },
    )
  })
}

export function tooLate(timeoutMs: number): CacheError {
  return new CacheError('ERR_CACHE_UNAVAILABLE', `no answer within ${timeoutMs} ms`)
}
