import { backgroundPause, settlesWithin } from '@platform/kernel'
import type { DriverSubscription, Receive, Subscription } from '../../driver.ts'
import { replyCode } from './faults.ts'
import { countsOf } from './group.ts'
import { Intake } from './intake.ts'
import { askingQueue, membersQueue } from './names.ts'
import { OrderedSubscription } from './ordered-subscription.ts'
import { fairMoves, type ShardView } from './share.ts'
import { shardQueues } from './shards.ts'
import { Slots } from './slots.ts'
import type { SubscriptionParts } from './subscription.ts'
import { declareSubscription } from './topology.ts'

/** How often a member looks; many members look less often each, so that the broker is asked as often as by a few. */
const lookMs = 1_000
const membersAtFullPace = 4
const longestLookMs = 10_000
const lookTimeoutMs = 5_000

interface Counts {
  readonly messages: number
  readonly consumers: number
}

/** A shard that this member is at. */
interface Place {
  readonly work: OrderedSubscription
  inVain: number
}

/** A member of an ordered group of several shards: it works on its fair share of them, each with an order of its own. */
export class ShardedSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #subscription: Subscription
  readonly #receive: Receive
  readonly #queues: readonly string[]
  readonly #slots: Slots
  readonly #presence: Intake
  readonly #places = new Map<number, Place>()
  readonly #leaving = new Set<OrderedSubscription>()
  readonly #free: number[]
  readonly #stop = new AbortController()
  readonly #loop: Promise<void>
  #asking: Intake | undefined
  #looked: 'not yet' | 'well' | 'in vain' = 'not yet'

  constructor(subscription: Subscription, receive: Receive, parts: SubscriptionParts) {
    const { destination, group, shards, concurrency } = subscription
    this.#parts = parts
    this.#subscription = subscription
    this.#receive = receive
    this.#queues = shardQueues(destination, group, shards)
    this.#free = this.#queues.map(() => 0)
    this.#slots = new Slots(concurrency)
    this.#presence = this.#beSeen(membersQueue(destination, group))
    this.#loop = this.#run()
  }

  trouble(): string | undefined {
    if (this.#stop.signal.aborted) return undefined
    if (this.#looked === 'not yet') return 'it has no share of the keys yet'
    if (this.#looked === 'in vain') return 'its shards cannot be looked at'
    return this.#works()
      .map((work) => work.trouble())
      .find((trouble) => trouble !== undefined)
  }

  async depth({ signal }: { signal: AbortSignal }): Promise<number> {
    return (await countsOf(this.#parts.link, this.#queues, signal)).messages
  }

  async quiesce(): Promise<void> {
    this.#stop.abort()
    await Promise.all([this.#presence.close(), this.#asking?.close(), ...this.#works().map((work) => work.quiesce())])
  }

  async close(): Promise<void> {
    await this.quiesce()
    await settlesWithin(this.#loop, lookTimeoutMs)
    await Promise.all(this.#works().map((work) => work.close()))
  }

  #works(): OrderedSubscription[] {
    return [...[...this.#places.values()].map(({ work }) => work), ...this.#leaving]
  }

  /** A consumer of a queue that gets no messages. */
  #beSeen(queue: string): Intake {
    return new Intake({
      link: this.#parts.link,
      queue,
      prefetch: 1,
      logger: this.#parts.logger,
      prepare: () => this.#parts.declare(this.#subscription),
      handlers: { message: () => {}, ended: () => {} },
    })
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      let members = 1
      try {
        members = await this.#look(AbortSignal.any([signal, AbortSignal.timeout(lookTimeoutMs)]))
        this.#looked = 'well'
      } catch (error) {
        if (signal.aborted) return
        if (this.#looked !== 'in vain')
          this.#parts.logger.warn({ err: error, queue: this.#queues[0] }, 'shards cannot be looked at; trying again')
        this.#looked = 'in vain'
        if (replyCode(error) === 404) await declareSubscription(this.#parts.link, this.#subscription, signal).catch(() => {})
      }
      const pace = Math.min(longestLookMs, lookMs * Math.max(1, members / membersAtFullPace))
      await backgroundPause(pace * (0.8 + Math.random() * 0.4), signal)
    }
  }

  /** Resolves to the number of members. */
  async #look(signal: AbortSignal): Promise<number> {
    const { destination, group } = this.#subscription
    const [members, asking, ...shards] = (await this.#parts.link.withChannel(async (channel) => {
      const counts: Counts[] = []
      for (const queue of [membersQueue(destination, group), askingQueue(destination, group), ...this.#queues]) {
        const { messageCount, consumerCount } = await channel.checkQueue(queue)
        counts.push({ messages: messageCount, consumers: consumerCount })
      }
      return counts
    }, signal)) as [Counts, Counts, ...Counts[]]
    const views = shards.map((counts, shard) => this.#view(shard, counts))
    const others = asking.consumers - (this.#asking === undefined ? 0 : 1)
    const { join, leave, ask } = fairMoves(views, members.consumers, others)
    signal.throwIfAborted()
    for (const shard of leave) this.#leave(shard)
    for (const shard of join) this.#join(shard)
    if (ask) this.#asking ??= this.#beSeen(askingQueue(destination, group))
    else {
      void this.#asking?.close()
      this.#asking = undefined
    }
    return members.consumers
  }

  #view(shard: number, { messages, consumers }: Counts): ShardView {
    const free = consumers > 0 ? 0 : (this.#free[shard] ?? 0) + 1
    this.#free[shard] = free
    const place = this.#places.get(shard)
    if (place === undefined) return { shard, free, mine: 'no', inVain: 0 }
    const working = place.work.active
    place.inVain = messages > 0 && !working ? place.inVain + 1 : 0
    return { shard, free, mine: working ? 'working' : 'there', inVain: place.inVain }
  }

  #join(shard: number): void {
    const queue = this.#queues[shard] as string
    const work = new OrderedSubscription(queue, this.#subscription, this.#receive, this.#parts, this.#slots)
    this.#places.set(shard, { work, inVain: 0 })
  }

  /** What is in hand is finished first. */
  #leave(shard: number): void {
    const place = this.#places.get(shard)
    if (place === undefined) return
    this.#places.delete(shard)
    this.#leaving.add(place.work)
    void place.work.leave().finally(() => this.#leaving.delete(place.work))
  }
}
