import { afterEach, beforeEach, vi } from 'vitest'
import { createCache, type Cache, type CacheOptions } from './index.ts'

/** Caches of a test file, by what they have in common and what is their own; all are closed after each test. */
export function cachesWith(common: () => CacheOptions): (options?: Partial<CacheOptions>) => Cache {
  const open: Cache[] = []
  afterEach(async () => {
    await Promise.all(open.splice(0).map((cache) => cache.close({ timeoutMs: 100 })))
  })
  return (options = {}) => {
    const cache = createCache({ ...common(), ...options })
    open.push(cache)
    return cache
  }
}

/** Timers and `performance.now()` in the hands of each test, and no spread of times to live. To be called after `cachesWith`: time is real again when caches close. */
export function onVirtualTime(): void {
  beforeEach(() => {
    vi.useFakeTimers()
    vi.spyOn(Math, 'random').mockReturnValue(0)
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.restoreAllMocks()
  })
}
