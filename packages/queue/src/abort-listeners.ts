/** All that wait on one signal, as one listener of it. */
class Together {
  readonly #signal: AbortSignal
  readonly #waiting = new Set<() => void>()

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#tell, { once: true })
  }

  add(left: () => void): void {
    this.#waiting.add(left)
  }

  delete(left: () => void): void {
    this.#waiting.delete(left)
    if (this.#waiting.size > 0) return
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
  const mine = group
  mine.add(left)
  return () => mine.delete(left)
}
