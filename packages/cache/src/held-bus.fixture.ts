import type { InvalidationBus } from './index.ts'

/** A bus whose messages arrive here only when they are let in. */
export class HeldBus {
  readonly bus: InvalidationBus
  #holding = false
  readonly #waiting: (() => void)[] = []

  constructor(bus: InvalidationBus) {
    this.bus = {
      ...bus,
      open: (options) =>
        bus.open({
          ...options,
          onMessage: (payload) => {
            if (this.#holding) this.#waiting.push(() => options.onMessage(payload))
            else options.onMessage(payload)
          },
        }),
    }
  }

  hold(): void {
    this.#holding = true
  }

  letIn(): void {
    this.#holding = false
    for (const arrive of this.#waiting.splice(0)) arrive()
  }
}
