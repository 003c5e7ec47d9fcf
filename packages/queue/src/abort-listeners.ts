import { Shelf } from './shelf.ts'

/** All that wait on one signal, as one listener of it. */
class Together {
  readonly #signal: AbortSignal
  readonly #waiting = new Shelf<() => void>()

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#tell, { once: true })
  }

  add(left: () => void): () => void {
    const place = this.#waiting.put(left)
    return () => {
      if (this.#waiting.take(place, left) && this.#waiting.size === 0) this.#end()
    }
  }

  #end(): void {
    this.#signal.removeEventListener('abort', this.#tell)
    if (groups.get(this.#signal) === this) groups.delete(this.#signal)
  }

  readonly #tell = (): void => {
    for (const left of this.#waiting) left()
  }
}

const groups = new WeakMap<AbortSignal, Together>()

/**
 * Calls `left` when the signal aborts; returns how to stop waiting. For signals that hundreds wait on at once: an event target looks through
 * all of its listeners whenever one comes.
 */
export function onAbort(signal: AbortSignal, left: () => void): () => void {
  let group = groups.get(signal)
  if (group === undefined) groups.set(signal, (group = new Together(signal)))
  return group.add(left)
}
