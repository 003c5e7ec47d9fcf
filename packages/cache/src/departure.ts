import { wrongOption } from './errors.ts'

export function signalOption(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined || typeof signal?.throwIfAborted === 'function') return signal
  throw wrongOption('signal', 'must be an AbortSignal')
}

/**
 * How a caller leaves what he waits for. One listener on his signal, however many keys he waits for: a signal with thousands of listeners takes
 * longer for each.
 */
export class Departure {
  readonly signal: AbortSignal
  readonly #steps = new Set<() => void>()
  readonly #leave = (): void => {
    for (const step of this.#steps) step()
  }

  constructor(signal: AbortSignal) {
    this.signal = signal
  }

  /** Calls the step when the signal aborts, at once if it has; `off` takes it back. */
  on(step: () => void): void {
    if (this.signal.aborted) return step()
    if (this.#steps.size === 0) this.signal.addEventListener('abort', this.#leave, { once: true })
    this.#steps.add(step)
  }

  off(step: () => void): void {
    if (this.#steps.delete(step) && this.#steps.size === 0) this.signal.removeEventListener('abort', this.#leave)
  }
}
