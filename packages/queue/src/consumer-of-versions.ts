import type { Consumer, ConsumerStats } from './consumer.ts'
import type { Cancellable } from './shapes.ts'

/** Consumers of a message and of its older versions, as one. */
export class ConsumerOfVersions implements Consumer {
  readonly #all: readonly Consumer[]

  constructor(all: readonly Consumer[]) {
    this.#all = all
  }

  stats(): ConsumerStats {
    const each = this.#all.map((consumer) => consumer.stats())
    const sum = (count: keyof ConsumerStats): number => each.reduce((total, stats) => total + stats[count], 0)
    return {
      inFlight: sum('inFlight'),
      processed: sum('processed'),
      retried: sum('retried'),
      deadLettered: sum('deadLettered'),
      duplicates: sum('duplicates'),
    }
  }

  async ready(options?: Cancellable): Promise<void> {
    await Promise.all(this.#all.map((consumer) => consumer.ready(options)))
  }

  async check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    const answers = await Promise.all(this.#all.map((consumer) => consumer.check(options)))
    return answers.find((answer) => answer !== undefined)
  }

  async quiesce(): Promise<void> {
    await Promise.all(this.#all.map((consumer) => consumer.quiesce()))
  }

  async drain(options?: Cancellable): Promise<void> {
    await Promise.all(this.#all.map((consumer) => consumer.drain(options)))
  }

  async close(options?: { timeoutMs?: number | undefined }): Promise<void> {
    await Promise.all(this.#all.map((consumer) => consumer.close(options)))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
