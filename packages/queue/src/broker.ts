import { integerOption, orAborted, settlesWithin, withDeadline } from '@platform/kernel'
import { MessageConsumer, type Consumer } from './consumer.ts'
import { ConsumerOfVersions } from './consumer-of-versions.ts'
import { eachDeadLetter, type DeadLetters } from './dead-letters.ts'
import type { DriverSession } from './driver.ts'
import { QueueError } from './errors.ts'
import type { AnyHandler, Subscribe } from './handler.ts'
import { groupExpiryTeller } from './group-expiry.ts'
import { createInstruments, type Instruments } from './instrumentation.ts'
import { contractOf, encode, type Message, type OutgoingMessage } from './message.ts'
import {
  requireGroup,
  resolveBrokerOptions,
  resolveConsumerOptions,
  type BrokerOptions,
  type ConsumeOptions,
  type ConsumerOptions,
  type ResolvedBrokerOptions,
  type ResolvedConsumerOptions,
} from './options.ts'
import { Processing } from './processing.ts'
import { Publisher, type SendOptions } from './publisher.ts'
import type { Cancellable, LoggerLike } from './shapes.ts'
import { Solo } from './solo.ts'
import { uuidv7 } from './uuid.ts'
import { refuse } from './validation.ts'

export interface PublishOptions extends SendOptions {
  /** Identity for duplicates: publish again with the same id when the outcome is unknown. Default: a new UUID v7. */
  id?: string | undefined
}

export interface Broker {
  /**
   * Resolves when the broker has it safe. Rejects with a QueueError: _INVALID, _UNROUTABLE, _OVERFLOW, _TIMEOUT, _INDETERMINATE,
   * _UNAVAILABLE, _REFUSED, _CLOSED; or with the signal's reason.
   */
  publish<In>(message: Message<In, unknown>, body: NoInfer<In>, options?: PublishOptions): Promise<{ id: string }>
  /** A component that subscribes in its `ready`, and is closed with the broker. Throws for a wrong option. */
  readonly consumer: Subscribe<ConsumerOptions, Consumer>
  /** Makes a consumer and waits until it is ready: for ever while the server is down, unless a `signal` says otherwise. */
  readonly consume: Subscribe<ConsumeOptions, Promise<Consumer>>
  /** What failed for good in a group. */
  deadLetters(message: Message<never, unknown>, group: string): DeadLetters
  /**
   * Ends a group that is needed no longer; resolves to false when there is none. ERR_QUEUE_CONFLICT while it has members, or holds messages or
   * dead letters and `discard` is not set.
   */
  deleteGroup(message: Message<never, unknown>, group: string, options?: Cancellable & { discard?: boolean | undefined }): Promise<boolean>
  /** Validates and seals a message for a later `send`, with the headers of now: what an outbox stores. */
  prepare<In>(message: Message<In, unknown>, body: NoInfer<In>, options?: { id?: string | undefined }): Promise<OutgoingMessage>
  /** Publishes what `prepare` made, in this or another process. */
  send(message: OutgoingMessage, options?: SendOptions): Promise<void>
  /** What it was made with; an outbox without a logger of its own writes there. */
  readonly logger: LoggerLike
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

/** Opens nothing that can fail: connections are made in the background or at first use. */
export function createBroker(options: BrokerOptions): Broker {
  return new DriverBroker(resolveBrokerOptions(options))
}

/** A start that takes longer says what it waits for. */
const silenceMs = 2_000

class DriverBroker implements Broker {
  readonly #options: ResolvedBrokerOptions
  readonly #session: DriverSession
  readonly #instruments: Instruments = createInstruments()
  readonly #publisher: Publisher
  readonly #consumers = new Set<MessageConsumer>()
  readonly #solo = new Solo()
  readonly #instance = uuidv7()
  readonly #closing = new AbortController()
  #broadcasts = 0
  #closed: Promise<void> | undefined

  constructor(options: ResolvedBrokerOptions) {
    this.#options = options
    const alone = <T>(work: () => Promise<T>): Promise<T> => this.#solo.alone(work)
    const groupExpired = groupExpiryTeller(options)
    this.#session = options.driver.open({ service: options.service, logger: options.logger, alone, groupExpired })
    this.#publisher = new Publisher(this.#session, options, this.#instruments)
  }

  async publish<In>(message: Message<In, unknown>, body: In, { id, signal, delayMs = 0 }: PublishOptions = {}): Promise<{ id: string }> {
    signal?.throwIfAborted()
    this.#assertOpen()
    integerOption(refuse, 'delayMs', delayMs, 0, 2_147_483_647)
    const create = (): OutgoingMessage | Promise<OutgoingMessage> => encode(message, body, this.#publisher.headers(), id)
    return { id: await this.#publisher.publish(contractOf(message).destination, create, { signal, delayMs }) }
  }

  async prepare<In>(message: Message<In, unknown>, body: In, { id }: { id?: string | undefined } = {}): Promise<OutgoingMessage> {
    return encode(message, body, this.#publisher.headers(), id)
  }

  async send(message: OutgoingMessage, { signal, delayMs = 0 }: SendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#assertOpen()
    integerOption(refuse, 'delayMs', delayMs, 0, 2_147_483_647)
    await this.#publisher.send(message, { signal, delayMs })
  }

  consumer<Out>(message: Message<never, Out>, handler: AnyHandler<Out>, options: ConsumerOptions): Consumer {
    this.#assertOpen()
    const { destination, upcasters } = contractOf(message)
    const resolved = resolveConsumerOptions(options)
    if (typeof handler !== 'function') throw refuse('handler', 'must be a function')
    const [first, ...older] = [destination, ...upcasters.map((upcaster) => upcaster.destination)].map((each) =>
      this.#consumerOf(message, each, handler, resolved),
    ) as [MessageConsumer, ...MessageConsumer[]]
    return older.length === 0 ? first : new ConsumerOfVersions([first, ...older])
  }

  #consumerOf<Out>(
    message: Message<never, Out>,
    destination: string,
    handler: AnyHandler<Out>,
    resolved: ResolvedConsumerOptions,
  ): MessageConsumer {
    const { group, broadcast, ordered, shards, concurrency, prefetch, groupExpiresAfterMs: expiresAfterMs } = resolved
    if (broadcast) this.#broadcasts += 1
    const subscription = {
      destination,
      group: broadcast ? `broadcast-${this.#instance}-${this.#broadcasts}` : group,
      broadcast,
      ordered,
      shards,
      concurrency,
      prefetch,
      expiresAfterMs,
    }
    const parts = { broker: this.#options, instruments: this.#instruments, solo: this.#solo, destination }
    const { process, labels } = new Processing(message, handler, resolved, parts)
    const consumer: MessageConsumer = new MessageConsumer({
      destination,
      group,
      system: this.#options.driver.name,
      logger: this.#options.logger,
      subscribe: (receive, signal) => this.#session.subscribe(subscription, receive, { signal }),
      process,
      labels,
      onUnsettled: () => this.#instruments.unsettled.add(1, labels),
      onLost: () => this.#instruments.lost.add(1, labels),
      onClosed: () => void this.#consumers.delete(consumer),
    })
    this.#consumers.add(consumer)
    return consumer
  }

  async consume<Out>(message: Message<never, Out>, handler: AnyHandler<Out>, options: ConsumeOptions): Promise<Consumer> {
    const { signal, ...rest } = options
    signal?.throwIfAborted()
    const consumer = this.consumer(message, handler, rest)
    try {
      await consumer.ready({ signal })
    } catch (error) {
      await consumer.close({ timeoutMs: 0 })
      throw error
    }
    return consumer
  }

  deadLetters(message: Message<never, unknown>, group: string): DeadLetters {
    const { destination } = contractOf(message)
    requireGroup(group)
    const store = this.#session.deadLetters
    const run = <R>(signal: AbortSignal | undefined, operation: (signal: AbortSignal) => Promise<R>): Promise<R> =>
      this.#bounded(destination, group, signal, operation)
    return {
      count: ({ signal } = {}) => run(signal, (bound) => store.count(destination, group, { signal: bound })),
      list: ({ signal, limit = 100 } = {}) => {
        integerOption(refuse, 'limit', limit, 1, 10_000)
        return run(signal, (bound) => store.list(destination, group, { signal: bound, limit }))
      },
      replay: async (id, { signal } = {}) => {
        const found = await run(signal, (bound) => store.replay(destination, group, [id], { signal: bound }))
        if (found === 0) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination, messageId: id })
      },
      discard: async (id, { signal } = {}) => {
        const found = await run(signal, (bound) => store.discard(destination, group, [id], { signal: bound }))
        if (found === 0) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination, messageId: id })
      },
      replayAll: (options) => eachDeadLetter('replay', store, { destination, group }, run, options),
      discardAll: (options) => eachDeadLetter('discard', store, { destination, group }, run, options),
      release: (key, { signal } = {}) => run(signal, (bound) => store.release(destination, group, key, { signal: bound })),
    }
  }

  async deleteGroup(
    message: Message<never, unknown>,
    group: string,
    { signal, discard = false }: Cancellable & { discard?: boolean | undefined } = {},
  ): Promise<boolean> {
    const { destination } = contractOf(message)
    requireGroup(group)
    return this.#bounded(destination, group, signal, (bound) => this.#session.deleteGroup(destination, group, { signal: bound, discard }))
  }

  get logger(): LoggerLike {
    return this.#options.logger
  }

  stats(): { pendingPublishes: number; consumers: number } {
    return { pendingPublishes: this.#publisher.pending, consumers: this.#consumers.size }
  }

  async ready({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#assertOpen()
    const telling = setTimeout(() => {
      this.#options.logger.warn(
        { system: this.#options.driver.name },
        `broker waits for ${this.#options.driver.name}: it cannot be reached yet`,
      )
    }, silenceMs)
    try {
      await orAborted(orAborted(this.#session.ready({ signal }), signal), this.#closing.signal)
    } finally {
      clearTimeout(telling)
    }
  }

  async check({ signal }: Cancellable = {}): Promise<void | { status: 'warn'; message: string }> {
    signal?.throwIfAborted()
    this.#assertOpen()
    const answer = await orAborted(orAborted(this.#session.check({ signal }), signal), this.#closing.signal)
    const troubles = [...this.#consumers].filter(({ asked }) => asked).map((consumer) => consumer.trouble())
    const messages = [answer?.message, ...troubles].filter((message) => message !== undefined)
    if (messages.length > 0) return { status: 'warn', message: messages.join('; ') }
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
    const { logger } = this.#options
    const startedAt = performance.now()
    const left = (): number => Math.max(0, timeoutMs - (performance.now() - startedAt))
    // Consumers get four fifths: their last publishes and the connections need the rest.
    await Promise.all([...this.#consumers].map((consumer) => consumer.close({ timeoutMs: timeoutMs * 0.8 })))
    this.#closing.abort(new QueueError('ERR_QUEUE_CLOSED'))
    await settlesWithin(this.#publisher.drain(), left())
    this.#publisher.abandon()
    const late = new AbortController()
    const closing = this.#session.close({ signal: late.signal }).catch((error: unknown) => {
      logger.warn({ err: error }, 'broker could not be closed; its connections end by themselves')
    })
    if (!(await settlesWithin(closing, left()))) {
      late.abort()
      logger.warn({ timeoutMs }, 'broker did not close in time; its connections end by themselves')
    }
    logger.debug({ durationMs: Math.round(performance.now() - startedAt) }, 'broker closed')
  }

  async #bounded<R>(
    destination: string,
    group: string,
    signal: AbortSignal | undefined,
    operation: (signal: AbortSignal) => Promise<R>,
  ): Promise<R> {
    signal?.throwIfAborted()
    this.#assertOpen()
    const late = (): QueueError => new QueueError('ERR_QUEUE_TIMEOUT', { destination, detail: `group ${group}` })
    const either = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])])
    return withDeadline(this.#options.deadLetterTimeoutMs, late, operation, either)
  }

  #assertOpen(): void {
    if (this.#closing.signal.aborted) throw new QueueError('ERR_QUEUE_CLOSED')
  }
}
