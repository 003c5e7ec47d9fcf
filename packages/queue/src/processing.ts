import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { Outcome } from './consumer.ts'
import type { Envelope, Lease } from './driver.ts'
import { attribute, type Instruments } from './instrumentation.ts'
import { contractOf, decode, type Delivery, type Message } from './message.ts'
import type { ResolvedBrokerOptions, ResolvedConsumerOptions } from './options.ts'
import { exhaustedBefore, judgeFailure } from './retry.ts'
import type { TransactionLike } from './shapes.ts'
import type { Solo } from './solo.ts'

export interface HandlerContext {
  /** Aborts when the delivery is lost or the consumer's time to close is over. */
  readonly signal: AbortSignal
  /** The inbox's transaction; there when `inbox` is set. */
  readonly tx?: TransactionLike
}

export type Handler<T> = (delivery: Delivery<T>, context: HandlerContext) => Promise<void>

/** One delivery from its arrival to its settlement: checked, handled inside hooks, span and inbox, judged, settled, and told once that is stored. */
export class Processing<T> {
  readonly #message: Message<never, T>
  readonly #handler: Handler<T>
  readonly #options: ResolvedConsumerOptions
  readonly #broker: ResolvedBrokerOptions
  readonly #instruments: Instruments
  readonly #solo: Solo
  readonly #destination: string

  constructor(
    message: Message<never, T>,
    handler: Handler<T>,
    options: ResolvedConsumerOptions,
    { broker, instruments, solo }: { broker: ResolvedBrokerOptions; instruments: Instruments; solo: Solo },
  ) {
    this.#message = message
    this.#handler = handler
    this.#options = options
    this.#broker = broker
    this.#instruments = instruments
    this.#solo = solo
    this.#destination = contractOf(message).destination
  }

  readonly process = async (lease: Lease, cut: AbortSignal): Promise<Outcome> => {
    const { envelope } = lease
    if (envelope === undefined) return this.#bury(lease, 'invalid: not a message of this library')
    const exhausted = exhaustedBefore(lease.begun, this.#options.retry)
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
      const run = (): Promise<Outcome> => this.#run(envelope, delivery, lease, cut)
      outcome = lease.alone ? await run() : await this.#solo.beside(run)
    } catch (error) {
      return this.#settleFailure(lease, envelope, error, cut)
    }
    await this.#timed('ack', () => lease.ack())
    return outcome
  }

  readonly unsettled = (): void => this.#instruments.unsettled.add(1, this.#labels())

  async #settleFailure(lease: Lease, envelope: Envelope, error: unknown, cut: AbortSignal): Promise<Outcome> {
    if (cut.aborted) {
      await lease.release()
      return 'released'
    }
    const verdict = judgeFailure(error, lease.begun + 1, this.#options.retry)
    if ('deadReason' in verdict) return this.#bury(lease, verdict.deadReason, error)
    await this.#timed('retry', () => lease.retry(verdict.retryAfterMs))
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
    this.#instruments.retried.add(1, this.#labels())
    return 'retried'
  }

  async #bury(lease: Lease, reason: string, error?: unknown): Promise<Outcome> {
    const { broadcast, group } = this.#options
    // A broadcast group ends with the process, so a dead letter would have nobody to look at it.
    if (broadcast) await this.#timed('ack', () => lease.ack())
    else await this.#timed('deadLetter', () => lease.deadLetter(reason))
    const fields = { err: error, destination: this.#destination, group, messageId: lease.envelope?.id, attempt: lease.attempt, reason }
    const what = broadcast ? 'broadcast message failed for good and was discarded' : 'message failed for good and is a dead letter'
    this.#broker.logger.error(fields, what)
    this.#instruments.deadLettered.add(1, this.#labels())
    return 'deadLettered'
  }

  async #run(envelope: Envelope, delivery: Delivery<T>, lease: Lease, cut: AbortSignal): Promise<Outcome> {
    const inbound = this.#broker.inbound
    const request = { method: 'PROCESS', url: this.#destination, headers: { ...envelope.headers } }
    const enter = (index: number): Promise<Outcome> => {
      const hook = inbound[index]
      return hook === undefined ? this.#traced(envelope, delivery, lease, cut) : hook(request, () => enter(index + 1))
    }
    cut.throwIfAborted()
    return enter(0)
  }

  async #traced(envelope: Envelope, delivery: Delivery<T>, lease: Lease, cut: AbortSignal): Promise<Outcome> {
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
      return await context.with(trace.setSpan(parent, span), () => this.#handle(delivery, lease, cut))
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

  async #handle(delivery: Delivery<T>, lease: Lease, cut: AbortSignal): Promise<Outcome> {
    let signal: AbortSignal | undefined
    const handlerContext = (tx?: TransactionLike): HandlerContext => ({
      // Combined on demand: most handlers never look at it.
      get signal() {
        signal ??= AbortSignal.any([lease.signal, cut])
        return signal
      },
      ...(tx === undefined ? {} : { tx }),
    })
    const { inbox, group } = this.#options
    if (inbox === undefined) {
      await this.#handler(delivery, handlerContext())
      return 'processed'
    }
    const consumer = `${this.#broker.service}/${this.#destination}/${group}`
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
