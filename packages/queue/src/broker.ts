import { orAborted } from './abort.ts'
import type { DeadLetter, DriverSession } from './driver.ts'
import { QueueError } from './errors.ts'
import { MessageConsumer, type Consumer, type Handler } from './consumer.ts'
import { createInstruments, type Instruments } from './instrumentation.ts'
import { contractOf, encode, type Message, type OutgoingMessage } from './message.ts'
import {
  requireGroup,
  resolveBrokerOptions,
  resolveConsumeOptions,
  type BrokerOptions,
  type ConsumeOptions,
  type ResolvedBrokerOptions,
} from './options.ts'
import { Publisher, type SendOptions } from './publisher.ts'
import type { Cancellable } from './shapes.ts'
import { uuidv7 } from './uuid.ts'
import { within } from './validation.ts'

export interface PublishOptions extends SendOptions {
  /** Identity for duplicates: publish again with the same id when the outcome is unknown. Default: a new UUID v7. */
  id?: string | undefined
}

export interface Broker {
  /**
   * Resolves when the broker has it safe. Rejects with a QueueError: _INVALID, _UNROUTABLE, _OVERFLOW, _TIMEOUT, _INDETERMINATE,
   * _UNAVAILABLE, _REFUSED, _CLOSED; or with the signal's reason.
   */
  publish<T>(message: Message<T>, body: T, options?: PublishOptions): Promise<{ id: string }>
  /** Resolves once the group exists; waits while the server is down. */
  consume<T>(message: Message<T>, handler: Handler<T>, options: ConsumeOptions): Promise<Consumer>
  /** What failed for good in a group. */
  deadLetters<T>(message: Message<T>, group: string): DeadLetters
  /** Validates and seals a message for a later `send`, with the headers of now: what an outbox stores. */
  prepare<T>(message: Message<T>, body: T, options?: { id?: string | undefined }): Promise<OutgoingMessage>
  /** Publishes what `prepare` made, in this or another process. */
  send(message: OutgoingMessage, options?: SendOptions): Promise<void>
  stats(): { pendingPublishes: number; consumers: number }
  ready(options?: Cancellable): Promise<void>
  check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }>
  /** Stops all consumers from taking new work; publishing goes on, since handlers publish. */
  quiesce(): Promise<void>
  drain(options?: Cancellable): Promise<void>
  /** Closes the consumers it made, lets publishes finish, closes the connections. Default 30,000 ms. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export interface DeadLetters {
  count(options?: Cancellable): Promise<number>
  /** Oldest first; `limit` defaults to 100, at most 10,000. */
  list(options?: Cancellable & { limit?: number | undefined }): Promise<DeadLetter[]>
  /** Delivers it again from attempt 1. One that parks its key goes first, then the messages that waited. */
  replay(id: string, options?: Cancellable): Promise<void>
  /** Lets a parked key go on; the dead letter stays. */
  release(key: string, options?: Cancellable): Promise<void>
}

/** Opens nothing that can fail: connections are made in the background or at first use. */
export function createBroker(options: BrokerOptions): Broker {
  return new DriverBroker(resolveBrokerOptions(options))
}

class DriverBroker implements Broker {
  readonly #options: ResolvedBrokerOptions
  readonly #session: DriverSession
  readonly #instruments: Instruments = createInstruments()
  readonly #publisher: Publisher
  readonly #consumers = new Set<MessageConsumer<never>>()
  readonly #instance = uuidv7()
  readonly #closing = new AbortController()
  #broadcasts = 0
  #closed: Promise<void> | undefined

  constructor(options: ResolvedBrokerOptions) {
    this.#options = options
    this.#session = options.driver.open({ service: options.service, logger: options.logger })
    this.#publisher = new Publisher(this.#session, options, this.#instruments)
  }

  async publish<T>(message: Message<T>, body: T, { id, signal, delayMs = 0 }: PublishOptions = {}): Promise<{ id: string }> {
    signal?.throwIfAborted()
    this.#assertOpen()
    within('delayMs', delayMs, 0, 2_147_483_647)
    const create = (): Promise<OutgoingMessage> => encode(message, body, this.#publisher.headers(), id)
    return this.#publisher.publish(contractOf(message).destination, create, { signal, delayMs })
  }

  async prepare<T>(message: Message<T>, body: T, { id }: { id?: string | undefined } = {}): Promise<OutgoingMessage> {
    return encode(message, body, this.#publisher.headers(), id)
  }

  async send(message: OutgoingMessage, { signal, delayMs = 0 }: SendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#assertOpen()
    within('delayMs', delayMs, 0, 2_147_483_647)
    await this.#publisher.send(message, { signal, delayMs })
  }

  async consume<T>(message: Message<T>, handler: Handler<T>, options: ConsumeOptions): Promise<Consumer> {
    const { signal } = options
    signal?.throwIfAborted()
    this.#assertOpen()
    const { destination } = contractOf(message)
    const resolved = resolveConsumeOptions(options)
    const consumer = new MessageConsumer(message, handler, resolved, this.#options, this.#instruments)
    if (resolved.broadcast) this.#broadcasts += 1
    const subscribing = this.#session.subscribe(
      {
        destination,
        group: resolved.broadcast ? `broadcast-${this.#instance}-${this.#broadcasts}` : resolved.group,
        broadcast: resolved.broadcast,
        ordered: resolved.ordered,
        concurrency: resolved.concurrency,
      },
      consumer.receive,
    )
    const subscription = await orAborted(subscribing, [signal, this.#closing.signal], (late) => late.close())
    consumer.attach(subscription, () => this.#consumers.delete(consumer as unknown as MessageConsumer<never>))
    if (this.#closing.signal.aborted) {
      await consumer.close({ timeoutMs: 0 })
      throw this.#closing.signal.reason
    }
    this.#consumers.add(consumer as unknown as MessageConsumer<never>)
    return consumer
  }

  deadLetters<T>(message: Message<T>, group: string): DeadLetters {
    const { destination } = contractOf(message)
    requireGroup(group)
    const store = this.#session.deadLetters
    const run = async <R>(signal: AbortSignal | undefined, operation: () => Promise<R>): Promise<R> => {
      signal?.throwIfAborted()
      this.#assertOpen()
      return orAborted(operation(), [signal])
    }
    return {
      count: ({ signal } = {}) => run(signal, () => store.count(destination, group, { signal })),
      list: ({ signal, limit = 100 } = {}) =>
        run(signal, () => store.list(destination, group, { signal, limit: within('limit', limit, 1, 10_000) })),
      replay: (id, { signal } = {}) => run(signal, () => store.replay(destination, group, id, { signal })),
      release: (key, { signal } = {}) => run(signal, () => store.release(destination, group, key, { signal })),
    }
  }

  stats(): { pendingPublishes: number; consumers: number } {
    return { pendingPublishes: this.#publisher.pending, consumers: this.#consumers.size }
  }

  async ready({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#assertOpen()
    await orAborted(this.#session.ready({ signal }), [signal, this.#closing.signal])
  }

  async check({ signal }: Cancellable = {}): Promise<void | { status: 'warn'; message: string }> {
    signal?.throwIfAborted()
    this.#assertOpen()
    return orAborted(this.#session.check({ signal }), [signal])
  }

  async quiesce(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.quiesce()))
  }

  async drain({ signal }: Cancellable = {}): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.drain({ signal })))
  }

  close({ timeoutMs = 30_000 }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(timeoutMs: number): Promise<void> {
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(new QueueError('ERR_QUEUE_CLOSED')), timeoutMs)
    const startedAt = performance.now()
    try {
      // Consumers get four fifths: their last publishes and the connections need the rest.
      await Promise.all([...this.#consumers].map((consumer) => consumer.close({ timeoutMs: timeoutMs * 0.8 })))
      this.#closing.abort(new QueueError('ERR_QUEUE_CLOSED'))
      await this.#publisher.drain(deadline.signal)
      await orAborted(this.#session.close({ signal: deadline.signal }), [deadline.signal]).catch((error: unknown) => {
        this.#options.logger.warn({ err: error }, 'broker did not close in time; its connections end by themselves')
      })
    } finally {
      clearTimeout(timer)
      this.#consumers.clear()
      this.#options.logger.debug({ durationMs: Math.round(performance.now() - startedAt) }, 'broker closed')
    }
  }

  #assertOpen(): void {
    if (this.#closing.signal.aborted) throw new QueueError('ERR_QUEUE_CLOSED')
  }
}
