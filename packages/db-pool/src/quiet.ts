/** Those who wait until nothing is in use and nobody waits for a connection. */
export class Quiet {
  readonly #isQuiet: () => boolean
  readonly #waiting = new Set<() => void>()

  constructor(isQuiet: () => boolean) {
    this.#isQuiet = isQuiet
  }

  /** Something has changed. */
  look(): void {
    if (this.#waiting.size > 0 && this.#isQuiet()) for (const resolve of this.#waiting) resolve()
  }

  /** False when the other promise was first. */
  async before(late: Promise<void>): Promise<boolean> {
    const leave = new AbortController()
    const quiet = this.wait(leave.signal).then(
      () => true,
      () => false,
    )
    const first = await Promise.race([quiet, late.then(() => false)])
    leave.abort()
    return first
  }

  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(done)
        signal?.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => {
        leave()
        reject(signal?.reason)
      }
      const done = (): void => {
        leave()
        resolve()
      }
      if (signal?.aborted) return reject(signal.reason)
      this.#waiting.add(done)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.look()
    })
  }
}
