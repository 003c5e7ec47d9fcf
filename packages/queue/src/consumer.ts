import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { DriverSubscription, Envelope, Lease } from './driver.ts'
import { QueueError } from './errors.ts'
import { orAborted } from './abort.ts'
import { attribute, type Instruments } from './instrumentation.ts'
import { contractOf, decode, type Delivery, type Message } from './message.ts'
import type { ResolvedBrokerOptions, ResolvedConsumeOptions } from './options.ts'
import { exhaustedBefore, judgeFailure } from './retry.ts'
import type { Cancellable, TransactionLike } from './shapes.ts'

export interface HandlerContext {
  /** Aborts when the delivery is lost or the consumer's time to close is over. */
  readonly signal: AbortSignal
  /** The inbox's transaction; there when `inbox` is set. */
  readonly tx?: TransactionLike
}

export type Handler<T> = (delivery: Delivery<T>, context: HandlerContext) => Promise<void>

export interface ConsumerStats {
  readonly inFlight: number
  /** Handled and acknowledged, duplicates included. */
  readonly processed: number
  readonly retried: number
  readonly deadLettered: number
  /** Recognised by the inbox. */
  readonly duplicates: number
}

export interface Consumer {
  stats(): ConsumerStats
  /** Starts no further handler. */
  quiesce(): Promise<void>
  /** Waits for running handlers. */
  drain(options?: Cancellable): Promise<void>
  /** Drains; after `timeoutMs` (default 30,000) aborts the handlers' signal and gives their messages back. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** For the one statement that gives back what was not finished. */
const giveBackMs = 5_000

type Outcome = 'processed' | 'retried' | 'deadLettered' | 'duplicate' | 'released'

export class MessageConsumer<T> implements Consumer {
  readonly #message: Message<T>
  readonly #handler: Handler<T>
  readonly #options: ResolvedConsumeOptions
  readonly #broker: ResolvedBrokerOptions
  readonly #instruments: Instruments
  readonly #destination: string
  readonly #cut = new AbortController()
  readonly #counts = { inFlight: 0, processed: 0, retried: 0, deadLettered: 0, duplicates: 0 }
  #subscription: DriverSubscription | undefined
  #onClosed: () => void = () => {}
  #idle: (() => void)[] = []
  #quiesced: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(
    message: Message<T>,
    handler: Handler<T>,
    options: ResolvedConsumeOptions,
    broker: ResolvedBrokerOptions,
    instruments: Instruments,
  ) {
    this.#message = message
    this.#handler = handler
    this.#options = options
    this.#broker = broker
    this.#instruments = instruments
    this.#destination = contractOf(message).destination
  }

  attach(subscription: DriverSubscription, onClosed: () => void): void {
    this.#subscription = subscription
    this.#onClosed = onClosed
  }

  stats(): ConsumerStats {
    return { ...this.#counts }
  }

  quiesce(): Promise<void> {
    this.#quiesced ??= this.#subscription?.quiesce() ?? Promise.resolve()
    return this.#quiesced
  }

  async drain({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    await orAborted(this.quiesce(), [signal])
    if (this.#counts.inFlight === 0) return
    await orAborted(new Promise<void>((resolve) => this.#idle.push(resolve)), [signal])
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
    const timer = setTimeout(() => deadline.abort(), timeoutMs)
    try {
      await this.drain({ signal: deadline.signal })
    } catch (error) {
      if (!deadline.signal.aborted) this.#broker.logger.warn({ err: error, destination: this.#destination }, 'consumer did not drain')
      this.#cut.abort(new QueueError('ERR_QUEUE_CLOSED', { destination: this.#destination }))
    } finally {
      clearTimeout(timer)
      // A server that does not answer must not hold the close; what this leaves behind ends with the connection.
      const patience = AbortSignal.timeout(giveBackMs)
      await orAborted(this.#subscription?.close() ?? Promise.resolve(), [patience]).catch((error: unknown) => {
        this.#broker.logger.warn(
          { err: error, destination: this.#destination },
          'unfinished messages could not be given back; their leases run out',
        )
      })
      this.#onClosed()
    }
  }

  readonly receive = async (lease: Lease): Promise<void> => {
    this.#counts.inFlight += 1
    try {
      const outcome = await this.#process(lease)
      if (outcome === 'duplicate') this.#counts.duplicates += 1
      if (outcome === 'duplicate' || outcome === 'processed') this.#counts.processed += 1
      if (outcome === 'retried' || outcome === 'deadLettered') this.#counts[outcome] += 1
    } catch (error) {
      // The server still has the message and will deliver it again: nothing is lost, so nothing is thrown.
      const fields = { err: error, destination: this.#destination, group: this.#options.group, messageId: lease.envelope?.id }
      if (QueueError.isInstance(error) && error.code === 'ERR_QUEUE_LEASE_LOST') this.#broker.logger.debug(fields, 'delivery was lost')
      else this.#broker.logger.warn(fields, 'delivery could not be settled')
    } finally {
      this.#counts.inFlight -= 1
      if (this.#counts.inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  async #process(lease: Lease): Promise<Outcome> {
    const { envelope } = lease
    if (envelope === undefined) return this.#bury(lease, 'not a message of this library')
    const exhausted = exhaustedBefore(lease.attempt, this.#options.retry)
    if (exhausted !== undefined) return this.#bury(lease, exhausted)
    const decoded = await decode(this.#message, envelope)
    if ('reason' in decoded) return this.#bury(lease, decoded.reason)

    const delivery: Delivery<T> = {
      id: envelope.id,
      body: decoded.body,
      ...(envelope.key === undefined ? {} : { key: envelope.key }),
      attempt: lease.attempt,
      headers: envelope.headers,
      publishedAt: new Date(envelope.publishedAt),
    }
    let outcome: Outcome
    try {
      outcome = await this.#run(envelope, delivery, lease)
    } catch (error) {
      return this.#settleFailure(lease, envelope, error)
    }
    await this.#timed('ack', () => lease.ack())
    return outcome
  }

  async #settleFailure(lease: Lease, envelope: Envelope, error: unknown): Promise<Outcome> {
    if (this.#cut.signal.aborted) {
      await lease.release()
      return 'released'
    }
    const verdict = judgeFailure(error, lease.attempt, this.#options.retry)
    if ('deadReason' in verdict) return this.#bury(lease, verdict.deadReason, error)
    this.#broker.logger.warn(
      {
        err: error,
        destination: this.#destination,
        group: this.#options.group,
        messageId: envelope.id,
        attempt: lease.attempt,
        ...verdict,
      },
      'handler failed, the message will be tried again',
    )
    await this.#timed('retry', () => lease.retry(verdict.retryAfterMs))
    this.#instruments.retried.add(1, this.#labels())
    return 'retried'
  }

  async #bury(lease: Lease, reason: string, error?: unknown): Promise<Outcome> {
    const fields = {
      err: error,
      destination: this.#destination,
      group: this.#options.group,
      messageId: lease.envelope?.id,
      attempt: lease.attempt,
      reason,
    }
    if (this.#options.broadcast) {
      // The group ends with the process, so a dead letter would have nobody to look at it.
      this.#broker.logger.error(fields, 'broadcast message failed for good and was discarded')
      await this.#timed('ack', () => lease.ack())
    } else {
      this.#broker.logger.error(fields, 'message failed for good and is a dead letter')
      await this.#timed('deadLetter', () => lease.deadLetter(reason))
    }
    this.#instruments.deadLettered.add(1, this.#labels())
    return 'deadLettered'
  }

  async #run(envelope: Envelope, delivery: Delivery<T>, lease: Lease): Promise<Outcome> {
    const inbound = this.#broker.inbound
    const request = { method: 'PROCESS', url: this.#destination, headers: { ...envelope.headers } }
    const enter = (index: number): Promise<Outcome> => {
      const hook = inbound[index]
      return hook === undefined ? this.#traced(envelope, delivery, lease) : hook(request, () => enter(index + 1))
    }
    return enter(0)
  }

  async #traced(envelope: Envelope, delivery: Delivery<T>, lease: Lease): Promise<Outcome> {
    const active = context.active()
    // A hook may have continued the message's trace already; then this span belongs below the hook's.
    const parent = trace.getSpan(active) === undefined ? propagation.extract(active, envelope.headers) : active
    const creation = trace.getSpanContext(propagation.extract(context.active(), envelope.headers))
    const labels = this.#labels()
    const span = this.#instruments.tracer.startSpan(
      `process ${this.#destination}`,
      {
        kind: SpanKind.CONSUMER,
        attributes: {
          ...labels,
          [attribute.operation]: 'process',
          [attribute.operationType]: 'process',
          [attribute.messageId]: envelope.id,
        },
        ...(creation === undefined ? {} : { links: [{ context: creation }] }),
      },
      parent,
    )
    const startedAt = performance.now()
    this.#instruments.consumed.add(1, labels)
    let failure: { [attribute.errorType]?: string } = {}
    try {
      return await context.with(trace.setSpan(parent, span), () => this.#handle(delivery, lease))
    } catch (error) {
      failure = { [attribute.errorType]: error instanceof Error ? error.name : 'unknown' }
      span.setStatus({ code: SpanStatusCode.ERROR })
      span.setAttributes(failure)
      throw error
    } finally {
      span.end()
      this.#instruments.processed.record((performance.now() - startedAt) / 1000, { ...labels, ...failure })
    }
  }

  async #handle(delivery: Delivery<T>, lease: Lease): Promise<Outcome> {
    const cut = this.#cut.signal
    let signal: AbortSignal | undefined
    const handlerContext = (tx?: TransactionLike): HandlerContext => ({
      // Combined on demand: most handlers never look at it.
      get signal() {
        signal ??= AbortSignal.any([lease.signal, cut])
        return signal
      },
      ...(tx === undefined ? {} : { tx }),
    })
    const { inbox } = this.#options
    if (inbox === undefined) {
      await this.#handler(delivery, handlerContext())
      return 'processed'
    }
    const consumer = `${this.#broker.service}/${this.#destination}/${this.#options.group}`
    const first = await inbox.once(consumer, delivery.id, (tx) => this.#handler(delivery, handlerContext(tx)))
    return first ? 'processed' : 'duplicate'
  }

  async #timed(operation: string, run: () => Promise<void>): Promise<void> {
    const startedAt = performance.now()
    await run()
    this.#instruments.operation.record((performance.now() - startedAt) / 1000, { ...this.#labels(), [attribute.operation]: operation })
  }

  #labels(): Record<string, string> {
    return {
      [attribute.system]: this.#broker.driver.name,
      [attribute.destination]: this.#destination,
      [attribute.group]: this.#options.group,
    }
  }
}
