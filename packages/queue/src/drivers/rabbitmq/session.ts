import { awaitedByMany, orAborted, pause, withDeadline } from '@platform/kernel'
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
import type { Cancellable } from '../../shapes.ts'
import { RabbitmqDeadLetters } from './dead-letters.ts'
import { Expiry } from './expiry.ts'
import { replyCode, typed } from './faults.ts'
import { deleteGroup } from './group.ts'
import { Link } from './link.ts'
import { exchangeName } from './names.ts'
import { resolveRabbitmqOptions, type RabbitmqOptions, type ResolvedRabbitmqOptions } from './options.ts'
import { OrderedSubscription } from './ordered-subscription.ts'
import { ConfirmPublisher } from './publisher.ts'
import { ShardedSubscription } from './sharded-subscription.ts'
import { shardQueue, slotName } from './shards.ts'
import { Slots } from './slots.ts'
import { PlainSubscription, type SubscriptionParts } from './subscription.ts'
import { declare, destinationTopology, hasGroup } from './topology.ts'
import { GivenBack } from './tries.ts'
import { Upkeep } from './upkeep.ts'
import { WaitQueues } from './wait-queues.ts'
import { toWire, type WireMessage } from './wire.ts'

const checkTimeoutMs = 5_000

interface Facts {
  readonly destination: string
  readonly messageId: string
}

/** Messages in RabbitMQ: quorum queues, publisher confirms, no plugin. */
export function rabbitmq(options: RabbitmqOptions): QueueDriver {
  const resolved = resolveRabbitmqOptions(options)
  return { name: 'rabbitmq', open: (context) => new RabbitmqSession(resolved, context) }
}

class RabbitmqSession implements DriverSession {
  readonly deadLetters: DeadLetterStore
  readonly #context: DriverContext
  /** Two connections: a broker short of memory blocks the one that publishes, and acknowledgements must not wait behind it. */
  readonly #publishLink: Link
  readonly #consumeLink: Link
  readonly #publisher: ConfirmPublisher
  readonly #waits: WaitQueues
  readonly #parts: SubscriptionParts
  readonly #expiry: Expiry
  readonly #upkeep: Upkeep
  readonly #exchanges = new Map<string, (signal: AbortSignal) => Promise<void>>()
  /** Those of them that are there, and what they are called: the path of every publish. */
  readonly #declared = new Map<string, string>()
  readonly #routable = new Set<string>()

  constructor(options: ResolvedRabbitmqOptions, context: DriverContext) {
    const { service, logger, alone } = context
    this.#context = context
    this.#publishLink = new Link(options, `${service} publish`, logger)
    this.#consumeLink = new Link(options, `${service} consume`, logger)
    this.#publisher = new ConfirmPublisher(this.#publishLink, options)
    // On the consuming connection: a broker short of memory still answers there.
    this.#waits = new WaitQueues(this.#consumeLink)
    this.#parts = {
      link: this.#consumeLink,
      publisher: this.#publisher,
      waits: this.#waits,
      logger,
      givenBack: new GivenBack(),
      alone,
      declare: (subscription) => this.#expiry.declare(this.#consumeLink, subscription),
    }
    this.#expiry = new Expiry(this.#publisher, context)
    this.#upkeep = new Upkeep(this.#consumeLink, logger)
    this.deadLetters = new RabbitmqDeadLetters(this.#consumeLink, this.#publisher)
  }

  async deleteGroup(destination: string, group: string, options: { signal: AbortSignal; discard: boolean }): Promise<boolean> {
    try {
      return await deleteGroup(this.#consumeLink, destination, group, options)
    } catch (error) {
      throw typed(error, { destination })
    }
  }

  async ready({ signal }: Cancellable): Promise<void> {
    await this.#publishLink.connected(signal)
  }

  /** Opening a channel is a question that only a live broker answers; one that is short of memory does not answer it where we publish. */
  async check({ signal }: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    const ask = (link: Link): Promise<void> =>
      withDeadline(
        checkTimeoutMs,
        () => new QueueError('ERR_QUEUE_UNAVAILABLE', { detail: `${link.name}: no answer within ${checkTimeoutMs} ms` }),
        (bound) => link.withChannel(async () => {}, bound),
        signal,
      )
    const blocked = (): boolean => this.#publishLink.blockedSince !== undefined
    const [publishing, consuming] = await Promise.allSettled([
      blocked() ? undefined : ask(this.#publishLink),
      blocked() || this.#upkeep.size > 0 ? ask(this.#consumeLink) : undefined,
    ])
    signal?.throwIfAborted()
    if (consuming.status === 'rejected') throw typed(consuming.reason)
    if (blocked()) return { status: 'warn', message: 'the broker is short of memory or disk and refuses publishes' }
    if (publishing.status === 'rejected') throw typed(publishing.reason)
    const message = this.#upkeep.trouble()
    if (message !== undefined) return { status: 'warn', message }
  }

  publish(destination: string, envelope: Envelope, request: PublishRequest): Promise<void> {
    const slot = slotName(envelope.key ?? envelope.id)
    const message = toWire(envelope)
    const exchange = this.#declared.get(destination)
    // Nearly all: no function of ours waits with it.
    const known = exchange !== undefined && request.delayMs === 0
    const sending = known
      ? this.#publisher.send({ exchange, routingKey: slot }, message, request)
      : this.#send(destination, slot, message, request)
    const { id } = envelope
    return sending.catch((error: unknown) => this.#sendAgain({ destination, messageId: id }, slot, message, request, error))
  }

  async #send(destination: string, slot: string, message: WireMessage, request: PublishRequest): Promise<void> {
    if (request.delayMs > 0) return this.#delay(destination, slot, message, request)
    if (!this.#declared.has(destination)) await this.#exchange(destination, request.signal)
    return this.#publisher.send({ exchange: exchangeName(destination), routingKey: slot }, message, request)
  }

  /** Somebody may have deleted the exchange, or what is bound to it: it is restored once. */
  async #sendAgain(facts: Facts, slot: string, message: WireMessage, request: PublishRequest, error: unknown): Promise<void> {
    const { destination } = facts
    const { signal } = request
    this.#exchanges.delete(destination)
    this.#declared.delete(destination)
    if (signal.aborted) throw signal.reason
    const refused = replyCode((error as Error).cause) === 404
    const gone = refused || (QueueError.isInstance(error) && error.code === 'ERR_QUEUE_UNROUTABLE')
    if (!gone || !((await this.#upkeep.restore(destination, signal)) || refused)) throw typed(error, facts)
    try {
      await this.#send(destination, slot, message, request)
    } catch (failure) {
      this.#exchanges.delete(destination)
      this.#declared.delete(destination)
      if (signal.aborted) throw signal.reason
      throw typed(failure, facts)
    }
  }

  async subscribe(subscription: Subscription, receive: Receive, { signal }: { signal: AbortSignal }): Promise<DriverSubscription> {
    await this.#declare(subscription, signal)
    signal.throwIfAborted()
    const running = this.#start(subscription, receive)
    this.#upkeep.add(subscription)
    return {
      trouble: () => running.trouble(),
      depth: (options) => running.depth(options),
      quiesce: () => running.quiesce(),
      close: async () => {
        this.#upkeep.remove(subscription)
        await running.close()
      },
    }
  }

  async close({ signal }: Cancellable): Promise<void> {
    this.#upkeep.close()
    await this.#expiry.close()
    await orAborted(this.#publisher.flushed(), signal).catch(() => {})
    await Promise.all([this.#consumeLink.close(), this.#publishLink.close()])
  }

  #start(subscription: Subscription, receive: Receive): DriverSubscription {
    const { destination, group, ordered, shards, concurrency } = subscription
    if (!ordered) return new PlainSubscription(subscription, receive, this.#parts)
    if (shards > 1) return new ShardedSubscription(subscription, receive, this.#parts)
    const queue = shardQueue(destination, group, 1, 0)
    return new OrderedSubscription(queue, subscription, receive, this.#parts, new Slots(concurrency))
  }

  async #delay(destination: string, slot: string, message: WireMessage, { delayMs, mandatory, signal }: PublishRequest): Promise<void> {
    if (!this.#declared.has(destination)) await this.#exchange(destination, signal)
    // A wait queue takes everything, so the question whether anybody needs it is asked beforehand.
    if (mandatory && !(await this.#isRoutable(destination, signal))) throw new QueueError('ERR_QUEUE_UNROUTABLE')
    const target = await this.#waits.ensure(exchangeName(destination), delayMs, signal)
    try {
      // It comes back under all of its routing keys: one leads to the destination, the other from there to the key's shard.
      const { content, options } = message
      await this.#publisher.send(target, { content, options: { ...options, CC: slot } }, { mandatory: true, signal })
    } catch (error) {
      this.#waits.forget(target.exchange)
      throw error
    }
  }

  /** A connection that breaks in the middle is not the caller's business; what the broker refuses is. */
  async #declare(subscription: Subscription, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#expiry.declare(this.#consumeLink, subscription, signal)
        return this.#expiry.begin(this.#consumeLink)
      } catch (error) {
        signal.throwIfAborted()
        // What was declared a moment ago is gone again: somebody is deleting the group.
        const deleted = replyCode(error) === 404
        if (QueueError.isInstance(error) || (replyCode(error) !== undefined && !deleted))
          throw typed(error, { destination: subscription.destination })
        this.#context.logger.debug({ err: error, destination: subscription.destination }, 'subscription is declared again')
        await pause(100, signal)
      }
    }
  }

  async #exchange(destination: string, signal: AbortSignal): Promise<void> {
    let declared = this.#exchanges.get(destination)
    if (declared === undefined) {
      const declaring = this.#publishLink.withChannel((channel) => declare(channel, destinationTopology(destination)))
      declared = awaitedByMany(declaring)
      this.#exchanges.set(destination, declared)
      declaring.catch(() => this.#exchanges.delete(destination))
    }
    // The declaration is everybody's; the wait is each caller's.
    await declared(signal)
    this.#declared.set(destination, exchangeName(destination))
    this.#expiry.begin(this.#publishLink)
  }

  async #isRoutable(destination: string, signal: AbortSignal): Promise<boolean> {
    if (this.#routable.has(destination)) return true
    if (!(await hasGroup(this.#consumeLink, destination, signal))) return false
    this.#routable.add(destination)
    return true
  }
}
