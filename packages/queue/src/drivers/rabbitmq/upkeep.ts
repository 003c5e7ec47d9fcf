import { backgroundPause } from '@platform/kernel'
import type { Channel } from 'amqplib'
import type { Subscription } from '../../driver.ts'
import type { LoggerLike } from '../../shapes.ts'
import { createRestoreCounter } from '../../instrumentation.ts'
import { replyCode } from './faults.ts'
import type { Link } from './link.ts'
import { declareSubscription, destinationTopology, groupTopology, type Topology } from './topology.ts'

/** One look at each group in this time, by all of its members together. */
const intervalMs = 2_000
const longestIntervalMs = 30_000

interface Watched {
  readonly topology: Topology
  dueAt: number
}

/**
 * Sees to it that what this process's subscriptions stand on is there: exchanges, queues and bindings that somebody deleted are made anew.
 * A look asks for the exchanges and the group's own queues, and makes the bindings again, which cannot be asked for; only when something is
 * missing everything is declared. The more members a group has, the less often each of them looks.
 */
export class Upkeep {
  readonly #link: Link
  readonly #logger: LoggerLike
  readonly #watched = new Map<Subscription, Watched>()
  readonly #stop = new AbortController()
  readonly #restored = createRestoreCounter('rabbitmq')
  #trouble: string | undefined
  #running = false

  constructor(link: Link, logger: LoggerLike) {
    this.#link = link
    this.#logger = logger
  }

  get size(): number {
    return this.#watched.size
  }

  trouble(): string | undefined {
    return this.#trouble
  }

  add(subscription: Subscription): void {
    const [common, own] = [destinationTopology(subscription.destination), groupTopology(subscription)]
    const topology = {
      exchanges: [...common.exchanges, ...own.exchanges],
      // The others get messages from members only, who hear of it when one is missing.
      queues: own.queues.filter(({ bindings }) => bindings !== undefined),
    }
    this.#watched.set(subscription, { topology, dueAt: performance.now() })
    if (!this.#running) void this.#run()
    this.#running = true
  }

  remove(subscription: Subscription): void {
    this.#watched.delete(subscription)
  }

  close(): void {
    this.#stop.abort()
  }

  /** At once, because a publish found nobody. False when this process has no subscription there. */
  async restore(destination: string, signal: AbortSignal): Promise<boolean> {
    const ours = [...this.#watched].filter(([subscription]) => subscription.destination === destination)
    for (const [subscription, watched] of ours) await this.#see(subscription, watched, signal)
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
        for (const [subscription, watched] of this.#watched) {
          if (performance.now() >= watched.dueAt) await this.#see(subscription, watched, signal)
        }
        this.#trouble = undefined
      } catch (error) {
        if (signal.aborted || !this.#link.up) continue
        if (this.#trouble === undefined) this.#logger.warn({ err: error }, 'exchanges, queues or bindings cannot be restored; trying again')
        this.#trouble = 'exchanges, queues or bindings are missing and cannot be restored'
      }
    }
  }

  async #see(subscription: Subscription, watched: Watched, signal: AbortSignal): Promise<void> {
    const asked = { exchange: '' }
    try {
      const members = await this.#link.withChannel((channel) => look(channel, watched.topology, asked), signal)
      watched.dueAt = performance.now() + Math.min(longestIntervalMs, intervalMs * (members - 0.5))
    } catch (error) {
      if (replyCode(error) !== 404) throw error
      await declareSubscription(this.#link, subscription, signal)
      if (asked.exchange === '') return
      this.#restored.add(1, { 'messaging.destination.name': subscription.destination })
      this.#logger.warn(
        { exchange: asked.exchange },
        'an exchange had been deleted and was restored; what was published meanwhile did not reach the group',
      )
    }
  }
}

/** Resolves to the number of members at the busiest queue. `asked` names the exchange that is missing, if it is one. */
async function look(channel: Channel, { exchanges, queues }: Topology, asked: { exchange: string }): Promise<number> {
  let members = 1
  for (const { name } of exchanges) {
    asked.exchange = name
    await channel.checkExchange(name)
  }
  asked.exchange = ''
  for (const { name, bindings = [] } of queues) {
    members = Math.max(members, (await channel.checkQueue(name)).consumerCount)
    for (const { from, key } of bindings) await channel.bindQueue(name, from, key)
  }
  for (const { name, bindings = [] } of exchanges) for (const { from, key } of bindings) await channel.bindExchange(name, from, key)
  return members
}
