import type { ConsumeMessage } from 'amqplib'
import { earlierDeliveries, idOf } from './wire.ts'

/** After this the broker has heard of it, or is out of order. */
const unheardMs = 10_000

/**
 * Ids of what was acknowledged last. An acknowledgement has no answer, and for a quorum queue that is behind the broker keeps it in the channel: what
 * a channel held when it was closed may come again though it was done. That cannot be more than the prefetch.
 */
export class Settled {
  readonly #most: number
  #young = new Set<string>()
  #old = new Set<string>()
  #since = performance.now()

  constructor(most: number) {
    this.#most = most
  }

  get ids(): string[] {
    this.#turnOver()
    return [...this.#old, ...this.#young]
  }

  add(message: ConsumeMessage): void {
    this.#turnOver()
    const id = idOf(message)
    if (id !== '') this.#young.add(id)
  }

  /** What is handed out for the first time is another message, whatever its id. */
  arrived(message: ConsumeMessage): void {
    if (earlierDeliveries(message) === 0) this.#forget(idOf(message))
  }

  /** It comes again though it was acknowledged, here or by who has left with these. */
  isDone(message: ConsumeMessage, left: Set<string>): boolean {
    this.#turnOver()
    const id = idOf(message)
    if (earlierDeliveries(message) > 0) return this.#young.has(id) || this.#old.has(id) || left.has(id)
    left.delete(id)
    return false
  }

  #forget(id: string): void {
    this.#young.delete(id)
    this.#old.delete(id)
  }

  /** Two tables in turn, so that nothing is ever taken out of a large one. */
  #turnOver(): void {
    const now = performance.now()
    const late = now - this.#since > unheardMs
    if (!late && this.#young.size < this.#most) return
    this.#old = now - this.#since > 2 * unheardMs ? new Set() : this.#young
    this.#young = new Set()
    this.#since = now
  }
}
