import type {
  DeadLetterStore,
  DriverContext,
  DriverSession,
  DriverSubscription,
  Envelope,
  PublishRequest,
  QueueDriver,
  Receive,
  Subscription,
} from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Cancellable, LoggerLike } from '../../shapes.ts'
import { RabbitmqDeadLetters } from './dead-letters.ts'
import { Link } from './link.ts'
import { resolveRabbitmqOptions, type RabbitmqOptions, type ResolvedRabbitmqOptions } from './options.ts'
import { OrderedSubscription } from './ordered-subscription.ts'
import { ConfirmPublisher } from './publisher.ts'
import { PlainSubscription } from './subscription.ts'
import { declareExchange, declareSubscription, exchangeName, hasGroup, WaitQueues } from './topology.ts'
import { toWire } from './wire.ts'

const checkTimeoutMs = 5_000

/** Messages in RabbitMQ: quorum queues, publisher confirms, no plugin. */
export function rabbitmq(options: RabbitmqOptions): QueueDriver {
  const resolved = resolveRabbitmqOptions(options)
  return { name: 'rabbitmq', open: (context) => new RabbitmqSession(resolved, context) }
}

class RabbitmqSession implements DriverSession {
  readonly deadLetters: DeadLetterStore
  readonly #logger: LoggerLike
  /** Two connections: a broker short of memory blocks the one that publishes, and acknowledgements must not wait behind it. */
  readonly #publishLink: Link
  readonly #consumeLink: Link
  readonly #publisher: ConfirmPublisher
  readonly #waits: WaitQueues
  readonly #exchanges = new Map<string, Promise<void>>()
  readonly #routable = new Set<string>()

  constructor(options: ResolvedRabbitmqOptions, { service, logger }: DriverContext) {
    this.#logger = logger
    this.#publishLink = new Link(options, `${service} publish`, logger)
    this.#consumeLink = new Link(options, `${service} consume`, logger)
    this.#publisher = new ConfirmPublisher(this.#publishLink, options.maxUnconfirmed)
    this.#waits = new WaitQueues(this.#publishLink)
    this.deadLetters = new RabbitmqDeadLetters(this.#consumeLink, this.#publisher)
  }

  async ready(): Promise<void> {
    await this.#publishLink.connection()
  }

  async check(): Promise<void | { status: 'warn'; message: string }> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new QueueError('ERR_QUEUE_UNAVAILABLE')), checkTimeoutMs)
    })
    try {
      // Opening a channel is a question that only a live broker answers.
      await Promise.race([this.#publishLink.withChannel(async () => {}), timeout])
    } catch (error) {
      throw QueueError.isInstance(error) ? error : new QueueError('ERR_QUEUE_UNAVAILABLE', { cause: error })
    } finally {
      clearTimeout(timer)
    }
    if (this.#publishLink.blockedSince !== undefined) return { status: 'warn', message: 'the broker refuses publishes' }
  }

  async publish(destination: string, envelope: Envelope, { delayMs, mandatory, signal }: PublishRequest): Promise<void> {
    const facts = { destination, messageId: envelope.id }
    try {
      await this.#exchange(destination)
      const exchange = exchangeName(destination)
      const message = toWire(envelope)
      if (delayMs === 0) return await this.#publisher.send({ exchange, routingKey: '' }, message, { mandatory, signal })
      // A wait queue takes everything, so the question whether anybody needs it is asked beforehand.
      if (mandatory && !(await this.#isRoutable(destination))) throw new QueueError('ERR_QUEUE_UNROUTABLE', facts)
      const queue = await this.#waits.ensure({ exchange, routingKey: '' }, delayMs)
      await this.#publisher.send({ exchange: '', routingKey: queue }, message, { mandatory: true, signal })
    } catch (error) {
      // Somebody may have deleted it.
      this.#exchanges.delete(destination)
      if (signal.aborted) throw signal.reason
      if (!QueueError.isInstance(error)) throw new QueueError('ERR_QUEUE_UNAVAILABLE', { ...facts, cause: error })
      throw error.destination === undefined ? new QueueError(error.code, { ...facts, cause: error.cause }) : error
    }
  }

  async subscribe(subscription: Subscription, receive: Receive): Promise<DriverSubscription> {
    const parts = { link: this.#consumeLink, publisher: this.#publisher, waits: this.#waits, logger: this.#logger }
    const queue = await this.#declare(subscription)
    return subscription.ordered
      ? new OrderedSubscription(queue, subscription, receive, parts)
      : new PlainSubscription(queue, subscription, receive, parts)
  }

  async close({ signal }: Cancellable): Promise<void> {
    await this.#publisher.flushed(signal)
    await Promise.all([this.#consumeLink.close(), this.#publishLink.close()])
  }

  /** A connection that breaks in the middle is not the caller's business. */
  async #declare(subscription: Subscription): Promise<string> {
    for (;;) {
      try {
        return await declareSubscription(this.#consumeLink, subscription)
      } catch (error) {
        if (QueueError.isInstance(error) || this.#consumeLink.up) throw error
      }
    }
  }

  async #exchange(destination: string): Promise<void> {
    let declared = this.#exchanges.get(destination)
    if (declared === undefined) {
      declared = this.#publishLink.withChannel((channel) => declareExchange(channel, destination))
      this.#exchanges.set(destination, declared)
    }
    await declared
  }

  async #isRoutable(destination: string): Promise<boolean> {
    if (this.#routable.has(destination)) return true
    if (!(await hasGroup(this.#publishLink, destination))) return false
    this.#routable.add(destination)
    return true
  }
}
