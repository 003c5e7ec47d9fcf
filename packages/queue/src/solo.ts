/** For so long a handler that is to run alone waits for the others, and for so long it then keeps them waiting. */
const patienceMs = 10_000

interface Waiting {
  begin(): void
}

/**
 * Who may run beside whom in this process. Handlers run side by side; a message that may have killed an earlier process runs alone, so that
 * a second death speaks against it and against nobody else. Both waits are bounded: what runs beside it after ten seconds has lived for as
 * long, and what has lived for ten seconds alone is taken for innocent.
 */
export class Solo {
  #running = 0
  /** Somebody runs alone, or waits for it: nobody else begins. */
  #reserved = false
  readonly #beside: Waiting[] = []
  readonly #alone: Waiting[] = []
  #onIdle: (() => void) | undefined

  /** Before what may run beside others; `undefined` when it may begin at once, as it nearly always may. Each `enter` has its `leave`. */
  enter(): Promise<void> | undefined {
    if (this.#reserved) return this.#later()
    this.#running += 1
    return undefined
  }

  leave(): void {
    this.#running -= 1
    if (this.#running === 0) this.#onIdle?.()
  }

  async alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#reserved) await new Promise<void>((resolve) => this.#alone.push({ begin: resolve }))
    this.#reserved = true
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, patienceMs)
    })
    if (this.#running > 0) await Promise.race([patience, new Promise<void>((resolve) => (this.#onIdle = resolve))])
    this.#onIdle = undefined
    clearTimeout(timer)
    const proven = setTimeout(() => this.#release(release), patienceMs)
    const release = { done: false }
    try {
      return await work()
    } finally {
      clearTimeout(proven)
      this.#release(release)
    }
  }

  async #later(): Promise<void> {
    while (this.#reserved) await new Promise<void>((resolve) => this.#beside.push({ begin: resolve }))
    this.#running += 1
  }

  /** The next that is to run alone goes before those that run together: they are few, and each may end the process. */
  #release(once: { done: boolean }): void {
    if (once.done) return
    once.done = true
    const next = this.#alone.shift()
    if (next !== undefined) return next.begin()
    this.#reserved = false
    for (const { begin } of this.#beside.splice(0)) begin()
  }
}
