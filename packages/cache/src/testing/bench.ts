import { createCache } from '../cache.ts'
import type { Cache, Factory } from '../contract.ts'
import type { CacheDriver } from '../driver.ts'
import type { CacheOptions } from '../options.ts'

/** What the suite needs of vitest, jest or another runner with their words. */
export interface TestFunctions {
  describe(name: string, body: () => void): void
  it(name: string, body: () => Promise<void>): void
  expect(actual: unknown): { toBe(expected: unknown): void; toEqual(expected: unknown): void }
}

export interface CacheDriverPlace {
  /** Another driver object over the same store. */
  driver(): CacheDriver
  close(): Promise<void>
}

export interface CacheDriverSubject {
  readonly name: string
  readonly layer: 'local' | 'shared'
  /** An empty place to store in; called once per test. */
  open(): Promise<CacheDriverPlace>
}

/** One place and the caches made over it in a test. */
export class Bench {
  readonly place: CacheDriverPlace
  readonly #layer: 'local' | 'shared'
  readonly #caches: Cache[] = []

  constructor(place: CacheDriverPlace, layer: 'local' | 'shared') {
    this.place = place
    this.#layer = layer
  }

  /** As if in a process of its own. */
  cache(options: Partial<CacheOptions> = {}): Cache {
    const driver = this.place.driver()
    const layers = this.#layer === 'local' ? { l1: driver } : { l2: driver, l2SoftTimeoutMs: 5_000, l2HardTimeoutMs: 10_000 }
    const cache = createCache({ namespace: 'contract', ttlMs: 60_000, ...layers, ...options })
    this.#caches.push(cache)
    return cache
  }

  async close(): Promise<void> {
    await Promise.all(this.#caches.map((cache) => cache.close({ timeoutMs: 0 })))
    await this.place.close()
  }
}

/** A factory that has read its answer and waits for the test before it returns it. */
export function heldLoad<T>(
  value: T,
  late?: (entry: Parameters<Factory<T>>[0]) => void,
): { factory: Factory<T>; started: Promise<void>; release(): void } {
  const started = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  return {
    started: started.promise,
    release: () => gate.resolve(),
    factory: async (entry) => {
      started.resolve()
      await gate.promise
      late?.(entry)
      return value
    },
  }
}

const deadlineMs = 10_000

/** Resolves when the condition holds; rejects at the deadline. */
export async function eventually(condition: () => Promise<boolean>): Promise<void> {
  for (const until = performance.now() + deadlineMs; !(await condition()); ) {
    if (performance.now() > until) throw new Error(`not within ${deadlineMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
