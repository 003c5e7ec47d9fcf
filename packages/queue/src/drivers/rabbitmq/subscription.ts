import type { ConsumeMessage } from 'amqplib'
import type { DriverSubscription, Lease, Receive, Subscription } from '../../driver.ts'
import type { LoggerLike } from '../../shapes.ts'
import { Intake, type Generation } from './intake.ts'
import type { Link } from './link.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { deadQueue, declareSubscription, type WaitQueues } from './topology.ts'
import { copyOf, earlierDeliveries, factsOf, fromWire, type Facts } from './wire.ts'

export interface SubscriptionParts {
  readonly link: Link
  readonly publisher: ConfirmPublisher
  readonly waits: WaitQueues
  readonly logger: LoggerLike
}

interface Arrived {
  readonly message: ConsumeMessage
  readonly generation: Generation
}

/** A member of a group without order, or a broadcast subscriber: as many deliveries as handlers. */
export class PlainSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #subscription: Subscription
  readonly #queue: string
  readonly #receive: Receive
  readonly #intake: Intake
  #arrived: Arrived[] = []
  #running = 0
  #stopped = false

  constructor(queue: string, subscription: Subscription, receive: Receive, parts: SubscriptionParts) {
    this.#parts = parts
    this.#subscription = subscription
    this.#queue = queue
    this.#receive = receive
    this.#intake = new Intake({
      link: parts.link,
      queue,
      prefetch: subscription.concurrency,
      logger: parts.logger,
      prepare: async () => void (await declareSubscription(parts.link, subscription)),
      handlers: {
        message: (message, generation) => {
          this.#arrived.push({ message, generation })
          this.#pump()
        },
        ended: (generation) => {
          this.#arrived = this.#arrived.filter((arrived) => arrived.generation !== generation)
        },
      },
    })
  }

  trouble(): string | undefined {
    return undefined
  }

  async quiesce(): Promise<void> {
    this.#stopped = true
    await this.#intake.cancel()
    this.#giveBack()
  }

  async close(): Promise<void> {
    await this.quiesce()
    await this.#intake.close()
    if (!this.#subscription.broadcast) return
    // It expires by itself when this fails.
    if (this.#parts.link.up) await this.#parts.link.withChannel((channel) => channel.deleteQueue(this.#queue)).catch(() => {})
  }

  /** Handlers of a lost channel may still run beside the new one's deliveries, hence the count. */
  #pump(): void {
    if (this.#stopped) {
      this.#giveBack()
      return
    }
    while (this.#running < this.#subscription.concurrency) {
      const arrived = this.#arrived.shift()
      if (arrived === undefined) return
      this.#running += 1
      void this.#receive(this.#lease(arrived)).finally(() => {
        this.#running -= 1
        this.#pump()
      })
    }
  }

  #giveBack(): void {
    for (const { message, generation } of this.#arrived.splice(0)) if (generation.alive) generation.requeue(message)
  }

  #lease({ message, generation }: Arrived): Lease {
    const attempt = Math.max(1, factsOf(message).attempt) + earlierDeliveries(message)
    /** First the copy, confirmed, then the acknowledgement: a crash in between makes two of it, never none. */
    const moveTo = async (queue: string, facts: Facts): Promise<void> => {
      await this.#parts.publisher.send({ exchange: '', routingKey: queue }, copyOf(message, facts), {
        mandatory: true,
        signal: generation.signal,
      })
      generation.ack(message)
    }
    return {
      envelope: fromWire(message),
      attempt,
      begun: attempt - 1,
      alone: false,
      signal: generation.signal,
      ack: async () => generation.ack(message),
      retry: async (delayMs) =>
        moveTo(await this.#parts.waits.ensure({ exchange: '', routingKey: this.#queue }, delayMs), { attempt: attempt + 1 }),
      deadLetter: (reason) => moveTo(deadQueue(this.#queue), { attempt, reason, deadAt: Date.now() }),
      release: async () => generation.requeue(message),
    }
  }
}
