import type { Invalidation } from './invalidation.ts'

/** Who waits here for another process to load a key, and is woken when that has ended or the key is invalidated. Being woken for nothing costs a look-up. */
export class Waits {
  readonly #waiting = new Map<string, Set<() => void>>()

  /** Resolves when woken, after so long, or when the signal aborts. */
  until(key: string, waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const same = this.#waiting.get(key) ?? new Set()
      this.#waiting.set(key, same)
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        same.delete(end)
        if (same.size === 0) this.#waiting.delete(key)
        resolve()
      }
      const timer = setTimeout(end, waitMs)
      same.add(end)
      if (signal.aborted) end()
      else signal.addEventListener('abort', end, { once: true })
    })
  }

  wake({ keys, tags, all }: Invalidation): void {
    // Which keys a tag concerns is not known here.
    const woken = all || tags.length > 0 ? [...this.#waiting.values()] : keys.flatMap((key) => this.#waiting.get(key) ?? [])
    for (const same of woken) for (const end of same) end()
  }
}
