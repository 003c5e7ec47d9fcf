import type { ResolvedBatchOptions } from './handler.ts'

interface Waiting<I, R> {
  readonly item: I
  resolve(result: R): void
  reject(error: unknown): void
}

/**
 * Collects what arrives one by one and has it handled together. A batch that fails is handled once more, item by item, so that one bad item
 * costs the others no try and each is judged by its own error.
 */
export class Batches<I, R> {
  readonly #options: ResolvedBatchOptions
  /** Resolves to a result for each item, in order. */
  readonly #handle: (items: readonly I[]) => Promise<readonly R[]>
  #waiting: Waiting<I, R>[] = []
  #endWait: () => void = () => {}

  constructor(options: ResolvedBatchOptions, handle: (items: readonly I[]) => Promise<readonly R[]>) {
    this.#options = options
    this.#handle = handle
  }

  /** When the signal aborts nothing waits any longer. */
  add(item: I, signal: AbortSignal): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      if (this.#waiting.length >= this.#options.maxSize || signal.aborted) void this.#run()
      else if (this.#waiting.length === 1) this.#wait(signal)
    })
  }

  #wait(signal: AbortSignal): void {
    const run = (): void => void this.#run()
    const timer = setTimeout(run, this.#options.maxWaitMs)
    signal.addEventListener('abort', run, { once: true })
    this.#endWait = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', run)
    }
  }

  async #run(): Promise<void> {
    this.#endWait()
    const batch = this.#waiting.splice(0)
    if (await this.#settles(batch, batch.length === 1)) return
    for (const waiting of batch) await this.#settles([waiting], true)
  }

  /** False when the handler failed and nobody was told. */
  async #settles(batch: readonly Waiting<I, R>[], last: boolean): Promise<boolean> {
    try {
      const results = await this.#handle(batch.map(({ item }) => item))
      for (const [at, { resolve }] of batch.entries()) resolve(results[at] as R)
      return true
    } catch (error) {
      if (last) for (const { reject } of batch) reject(error)
      return last
    }
  }
}
