import { backgroundPause } from '@platform/kernel'
import type { Subscription } from '../../driver.ts'
import type { LoggerLike } from '../../shapes.ts'
import { createRestoreCounter } from '../../instrumentation.ts'
import { replyCode } from './faults.ts'
import type { Link } from './link.ts'
import { declareSubscription, exchangeName } from './topology.ts'

const intervalMs = 2_000

/** Sees to it that what this process's subscriptions stand on is there: exchanges, queues and bindings that somebody deleted are made anew. */
export class Upkeep {
  readonly #link: Link
  readonly #logger: LoggerLike
  readonly #subscriptions = new Set<Subscription>()
  readonly #stop = new AbortController()
  readonly #restored = createRestoreCounter('rabbitmq')
  #trouble: string | undefined
  #running = false

  constructor(link: Link, logger: LoggerLike) {
    this.#link = link
    this.#logger = logger
  }

  get size(): number {
    return this.#subscriptions.size
  }

  trouble(): string | undefined {
    return this.#trouble
  }

  add(subscription: Subscription): void {
    this.#subscriptions.add(subscription)
    if (!this.#running) void this.#run()
    this.#running = true
  }

  remove(subscription: Subscription): void {
    this.#subscriptions.delete(subscription)
  }

  close(): void {
    this.#stop.abort()
  }

  /** At once, because a publish found nobody. False when this process has no subscription there. */
  async restore(destination: string, signal: AbortSignal): Promise<boolean> {
    const ours = [...this.#subscriptions].filter((subscription) => subscription.destination === destination)
    for (const subscription of ours) await this.#see(subscription, signal)
    return ours.length > 0
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    for (;;) {
      await backgroundPause(intervalMs * (0.8 + Math.random() * 0.4), signal)
      if (signal.aborted) return
      // While the connection is away the consumers tell of it, and declare everything when it is back.
      if (!this.#link.up) continue
      try {
        for (const subscription of this.#subscriptions) await this.#see(subscription, signal)
        this.#trouble = undefined
      } catch (error) {
        if (signal.aborted || !this.#link.up) continue
        if (this.#trouble === undefined) this.#logger.warn({ err: error }, 'exchanges, queues or bindings cannot be restored; trying again')
        this.#trouble = 'exchanges, queues or bindings are missing and cannot be restored'
      }
    }
  }

  async #see(subscription: Subscription, signal: AbortSignal): Promise<void> {
    const exchange = exchangeName(subscription.destination)
    const missing = await this.#isMissing(exchange, signal)
    // Bindings cannot be asked for: they are made again each time, which changes nothing where they are.
    await declareSubscription(this.#link, subscription, signal)
    if (!missing) return
    this.#restored.add(1, { 'messaging.destination.name': subscription.destination })
    this.#logger.warn({ exchange }, 'an exchange had been deleted and was restored; what was published meanwhile did not reach the group')
  }

  async #isMissing(exchange: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#link.withChannel((channel) => channel.checkExchange(exchange), signal)
      return false
    } catch (error) {
      if (replyCode(error) === 404) return true
      throw error
    }
  }
}
