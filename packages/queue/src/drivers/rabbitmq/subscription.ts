import { settlesWithin } from '@platform/kernel'
import type { ConsumeMessage } from 'amqplib'
import type { DriverSubscription, Lease, Receive, Subscription } from '../../driver.ts'
import { Shelf } from '../../shelf.ts'
import type { LoggerLike } from '../../shapes.ts'
import type { Generation } from './generation.ts'
import { countsOf } from './group.ts'
import { Intake } from './intake.ts'
import type { Link } from './link.ts'
import { deadQueue, groupName, trialQueue } from './names.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { Settlement } from './settle.ts'
import { declareSubscription } from './topology.ts'
import { Trials } from './trials.ts'
import type { GivenBack, Tries } from './tries.ts'
import type { WaitQueues } from './wait-queues.ts'
import { earlierDeliveries, factsOf, fromWire, idOf } from './wire.ts'

export interface SubscriptionParts {
  readonly link: Link
  readonly publisher: ConfirmPublisher
  readonly waits: WaitQueues
  readonly logger: LoggerLike
  readonly givenBack: GivenBack
  alone<T>(work: () => Promise<T>): Promise<T>
  /** Declares what the subscription stands on: its consumer comes, or comes back. */
  declare(subscription: Subscription): Promise<void>
}

interface Held {
  readonly message: ConsumeMessage
  readonly generation: Generation
  readonly id: string
  readonly deliveries: number
  readonly tries: Tries
  begun: boolean
  /** Where it is held. */
  place: number
}

/** A delivery that could be neither settled nor moved comes again after this. */
const giveBackMs = 1_000
/** After this the end of the channel gives it back. */
const handOverMs = 2_000

/**
 * A member of a group without order, or a broadcast subscriber. What somebody else held before, and did not settle, may have killed him: it
 * goes to the group's trial queue, where messages are taken one at a time and run alone.
 */
export class PlainSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #subscription: Subscription
  readonly #queue: string
  readonly #receive: Receive
  readonly #intake: Intake
  readonly #settlement: Settlement
  readonly #trials: Trials | undefined
  readonly #held = new Shelf<Held>()
  readonly #unsettled = new Map<NodeJS.Timeout, Held>()
  #waiting: Held[] = []
  /** What was waiting when it stopped, on its way to whoever comes next. */
  readonly #handingOver = new Set<Promise<void>>()
  #running = 0
  #stopped = false

  constructor(subscription: Subscription, receive: Receive, parts: SubscriptionParts) {
    const { destination, group } = subscription
    const queue = groupName(destination, group)
    this.#parts = parts
    this.#subscription = subscription
    this.#queue = queue
    this.#receive = receive
    const restore = (): Promise<void> => declareSubscription(parts.link, subscription)
    this.#settlement = new Settlement(queue, deadQueue(destination, group), { ...parts, restore })
    this.#trials = subscription.broadcast ? undefined : new Trials(queue, receive, { ...parts, settlement: this.#settlement })
    this.#intake = new Intake({
      link: parts.link,
      queue,
      prefetch: subscription.prefetch,
      logger: parts.logger,
      prepare: () => parts.declare(subscription),
      handlers: {
        message: (message, generation) => this.#arrive(message, generation),
        ended: (generation) => this.#ended(generation),
      },
    })
  }

  trouble(): string | undefined {
    if (this.#unsettled.size > 0) return `${this.#unsettled.size} messages could not be settled and come again`
    return this.#stopped ? undefined : this.#intake.trouble()
  }

  async depth({ signal }: { signal: AbortSignal }): Promise<number> {
    return (await countsOf(this.#parts.link, [this.#queue], signal)).messages
  }

  async quiesce(): Promise<void> {
    this.#stopped = true
    this.#trials?.stop()
    await this.#intake.cancel()
    this.#handOverWaiting()
    await Promise.all(this.#handingOver)
  }

  async close(): Promise<void> {
    await this.quiesce()
    for (const timer of this.#unsettled.keys()) clearTimeout(timer)
    this.#unsettled.clear()
    await Promise.all([this.#intake.close(), this.#trials?.close()])
    if (!this.#subscription.broadcast) return
    // It expires by itself when this fails.
    if (this.#parts.link.up) await this.#parts.link.withChannel((channel) => channel.deleteQueue(this.#queue)).catch(() => {})
  }

  #arrive(message: ConsumeMessage, generation: Generation): void {
    const { counted, shown } = factsOf(message)
    const id = idOf(message)
    const deliveries = earlierDeliveries(message)
    const known = deliveries === 0 || this.#trials === undefined ? { counted, shown } : undefined
    const recalled = deliveries === 0 ? undefined : this.#parts.givenBack.recall(`${this.#queue} ${id}`, deliveries)
    const tries = recalled ?? known
    const held: Held = { message, generation, id, deliveries, tries: tries ?? { counted, shown: shown + 1 }, begun: false, place: 0 }
    held.place = this.#held.put(held)
    if (tries === undefined) void this.#suspect(held)
    else {
      this.#waiting.push(held)
      this.#pump()
    }
  }

  /** Handlers of a lost channel may still run beside the new one's deliveries, hence the count. */
  #pump(): void {
    while (!this.#stopped && this.#running < this.#subscription.concurrency) {
      const held = this.#waiting.shift()
      if (held === undefined) return
      this.#running += 1
      held.begun = true
      void this.#receive(this.#lease(held)).then(this.#handled)
    }
    if (this.#stopped) this.#handOverWaiting()
  }

  #handOverWaiting(): void {
    for (const held of this.#waiting.splice(0)) {
      const over = this.#handOver(held).finally(() => this.#handingOver.delete(over))
      this.#handingOver.add(over)
    }
  }

  readonly #handled = (): void => {
    this.#running -= 1
    this.#pump()
  }

  async #suspect(held: Held): Promise<void> {
    try {
      await this.#settlement.moveTo(trialQueue(this.#queue), held, { ...held.tries, replays: factsOf(held.message).replays })
      this.#held.take(held.place, held)
      this.#trials?.look()
    } catch (error) {
      this.#postpone(held, error, 'a message whose earlier try did not end cannot be set apart; it comes again')
    }
  }

  #lease(held: Held): Lease {
    const { message, generation, tries } = held
    const settled = async (work: () => Promise<void> | void): Promise<void> => {
      try {
        await work()
        this.#held.take(held.place, held)
      } catch (error) {
        this.#postpone(held, error, 'a delivery could not be settled; it comes again')
        throw error
      }
    }
    const bury = async (reason: string): Promise<void> => {
      await this.#settlement.bury(held, reason, tries, factsOf(message).replays)
      generation.ack(message)
    }
    return {
      envelope: fromWire(message),
      attempt: tries.shown + 1,
      begun: tries.counted,
      alone: false,
      signal: generation.signal,
      ack: () => settled(() => generation.ack(message)),
      retry: (delayMs) => settled(() => this.#settlement.retry(held, delayMs, { counted: tries.counted + 1, shown: tries.shown + 1 })),
      deadLetter: (reason) => settled(() => bury(reason)),
      release: () => this.#handOver(held),
    }
  }

  /** Unless its channel is gone, and it with it. */
  #postpone(held: Held, error: unknown, text: string): void {
    if (!held.generation.alive || this.#stopped) return
    this.#parts.logger.warn({ err: error, queue: this.#queue, messageId: held.id }, text)
    const timer = setTimeout(() => {
      this.#unsettled.delete(timer)
      this.#giveBack(held)
    }, giveBackMs)
    this.#unsettled.set(timer, held)
  }

  /**
   * To whoever comes next, as a copy that says what is known of its tries: what the broker itself gives back would look as if this process had
   * died of it, and run alone.
   */
  async #handOver(held: Held): Promise<void> {
    if (this.#subscription.broadcast || !held.generation.alive) return this.#giveBack(held)
    const { counted, shown } = held.tries
    const facts = { counted, shown: shown + (held.begun ? 1 : 0), replays: factsOf(held.message).replays }
    const moving = this.#settlement.moveTo(this.#queue, held, facts).then(
      () => void this.#held.take(held.place, held),
      () => this.#giveBack(held),
    )
    await settlesWithin(moving, handOverMs)
  }

  #giveBack(held: Held): void {
    if (!this.#held.take(held.place, held)) return
    this.#remember(held)
    if (held.generation.alive) held.generation.requeue(held.message)
  }

  #remember({ id, deliveries, tries, begun }: Held): void {
    const shown = tries.shown + (begun ? 1 : 0)
    this.#parts.givenBack.remember(`${this.#queue} ${id}`, deliveries, { counted: tries.counted, shown })
  }

  #ended(generation: Generation): void {
    this.#waiting = this.#waiting.filter((held) => held.generation !== generation)
    for (const held of this.#held) {
      if (held.generation !== generation) continue
      this.#held.take(held.place, held)
      this.#remember(held)
    }
    for (const [timer, held] of this.#unsettled) {
      if (held.generation !== generation) continue
      clearTimeout(timer)
      this.#unsettled.delete(timer)
    }
  }
}
