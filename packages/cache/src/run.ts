import type { BatchFactory, Factory } from './contract.ts'
import { lifeOption } from './lifetimes.ts'
import type { Ask } from './load.ts'
import { safeName } from './names.ts'
import type { Flight } from './single-flight.ts'

/** What the factory made of one key. */
export type Made = { readonly value: unknown; readonly ttlMs: number; readonly skip: boolean } | Error

/** A key that the factory is asked for, and what was there before. */
export interface Missing {
  readonly flight: Flight
  readonly previous: unknown
}

/** Runs the user's factory for the keys that are missing. */
export type Run = (missing: readonly Missing[], signal: AbortSignal) => Promise<(flight: Flight) => Made>

export function runOf<T>(factory: Factory<T>, ask: Ask): Run {
  return async (missing, signal) => {
    const { flight, previous } = missing[0] as Missing
    let skip = false
    const entry = {
      signal,
      previous,
      ttlMs: ask.lifetimes.ttlMs,
      skip: () => {
        skip = true
      },
      tag: (...tags: string[]) => {
        for (const tag of tags) flight.tag(safeName('tag', tag))
      },
    }
    const value = await factory(entry)
    const ttlMs = lifeOption('entry.ttlMs', entry.ttlMs, 0)
    return () => ({ value, ttlMs, skip: skip || ttlMs === 0 || value === undefined })
  }
}

/** `nameOf`: a key as its caller knows it. */
export function runOfBatch<T>(factory: BatchFactory<T>, ask: Ask, nameOf: (key: string) => string): Run {
  return async (missing, signal) => {
    const keys = missing.map(({ flight }) => nameOf(flight.key))
    const previous = new Map<string, unknown>()
    missing.forEach((each, index) => each.previous !== undefined && previous.set(keys[index] as string, each.previous))
    const values = await factory(keys, { signal, previous })
    if (typeof values?.get !== 'function') throw new TypeError('the factory of getOrSetMany must return a Map')
    return ({ key }) => {
      const value = values.get(nameOf(key))
      return value instanceof Error ? value : { value, ttlMs: ask.lifetimes.ttlMs, skip: value === undefined }
    }
  }
}
