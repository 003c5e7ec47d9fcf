import { context, isSpanContextValid, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { Batches } from './batches.ts'
import type { Outcome } from './consumer.ts'
import type { Envelope, Lease } from './driver.ts'
import type { AnyHandler, HandlerContext } from './handler.ts'
import { attribute, type Instruments } from './instrumentation.ts'
import { decode, type Delivery, type Message } from './message.ts'
import type { ResolvedBrokerOptions, ResolvedConsumerOptions } from './options.ts'
import { exhaustedBefore, judgeFailure } from './retry.ts'
import type { TransactionLike } from './shapes.ts'
import type { Solo } from './solo.ts'

/** A delivery that a handler is to get. */
interface Begun<T> {
  readonly delivery: Delivery<T>
  readonly lease: Lease
  readonly cut: AbortSignal
}

/** One delivery from its arrival to its settlement: checked, handled inside hooks, span and inbox, judged, settled, and told once that is stored. */
export class Processing<T> {
  readonly #message: Message<never, T>
  readonly #handler: AnyHandler<T>
  readonly #batches: Batches<Begun<T>, Outcome> | undefined
  readonly #options: ResolvedConsumerOptions
  readonly #broker: ResolvedBrokerOptions
  readonly #instruments: Instruments
  readonly #solo: Solo
  /** Where it came from: that of an older version, where upcasters bring it up to date. */
  readonly #destination: string
  readonly #labels: Readonly<Record<string, string>>

  constructor(
    message: Message<never, T>,
    handler: AnyHandler<T>,
    options: ResolvedConsumerOptions,
    {
      broker,
      instruments,
      solo,
      destination,
    }: { broker: ResolvedBrokerOptions; instruments: Instruments; solo: Solo; destination: string },
  ) {
    this.#message = message
    this.#handler = handler
    this.#options = options
    this.#broker = broker
    this.#instruments = instruments
    this.#solo = solo
    this.#destination = destination
    this.#labels = {
      [attribute.system]: broker.driver.name,
      [attribute.destination]: destination,
      [attribute.group]: options.group,
    }
    this.#batches = options.batch === undefined ? undefined : new Batches(options.batch, (begun) => this.#handle(begun))
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
    if (outcome === 'duplicate') this.#instruments.duplicates.add(1, this.#labels)
    return outcome
  }

  get labels(): Readonly<Record<string, string>> {
    return this.#labels
  }

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
    this.#instruments.retried.add(1, this.#labels)
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
    this.#instruments.deadLettered.add(1, this.#labels)
    return 'deadLettered'
  }

  async #run(envelope: Envelope, delivery: Delivery<T>, lease: Lease, cut: AbortSignal): Promise<Outcome> {
    cut.throwIfAborted()
    const inbound = this.#broker.inbound
    if (inbound.length === 0) return this.#traced(envelope, delivery, lease, cut)
    const request = { method: 'PROCESS', url: this.#destination, headers: { ...envelope.headers } }
    const enter = (index: number): Promise<Outcome> => {
      const hook = inbound[index]
      return hook === undefined ? this.#traced(envelope, delivery, lease, cut) : hook(request, () => enter(index + 1))
    }
    return enter(0)
  }

  async #traced(envelope: Envelope, delivery: Delivery<T>, lease: Lease, cut: AbortSignal): Promise<Outcome> {
    const active = context.active()
    const published = propagation.extract(active, envelope.headers)
    // A hook may have continued the message's trace already; then this span belongs below the hook's.
    const parent = trace.getSpan(active) === undefined ? published : active
    const creation = trace.getSpanContext(published)
    const labels = this.#labels
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
    let outcome: Readonly<Record<string, string>> = labels
    try {
      const work = (): Promise<Outcome> => this.#begin({ delivery, lease, cut })
      // Entering a context copies it: not where nobody traces.
      const inside = isSpanContextValid(span.spanContext()) ? trace.setSpan(parent, span) : parent
      return await (inside === active ? work() : context.with(inside, work))
    } catch (error) {
      const failure = { [attribute.errorType]: error instanceof Error ? error.name : 'unknown' }
      outcome = { ...labels, ...failure }
      span.setStatus({ code: SpanStatusCode.ERROR })
      span.setAttributes(failure)
      throw error
    } finally {
      span.end()
      this.#instruments.processed.record((performance.now() - startedAt) / 1000, outcome)
    }
  }

  async #begin(begun: Begun<T>): Promise<Outcome> {
    if (this.#batches !== undefined) return this.#batches.add(begun, begun.cut)
    return (await this.#handle([begun]))[0] as Outcome
  }

  /** Together, in one transaction where there is an inbox; single messages are batches of one. */
  async #handle(begun: readonly Begun<T>[]): Promise<Outcome[]> {
    const { inbox, group } = this.#options
    if (inbox === undefined) {
      await this.#call(begun)
      return begun.map(() => 'processed')
    }
    const first = new Set<Begun<T>>()
    const consumer = `${this.#broker.service}/${this.#destination}/${group}`
    const ids = begun.map(({ delivery }) => delivery.id)
    await inbox.onceEach(consumer, ids, async (tx, fresh) => {
      const left = new Set(fresh)
      for (const each of begun) if (left.delete(each.delivery.id)) first.add(each)
      await this.#call([...first], tx)
    })
    return begun.map((each) => (first.has(each) ? 'processed' : 'duplicate'))
  }

  async #call(begun: readonly Begun<T>[], tx?: TransactionLike): Promise<void> {
    const [{ delivery, cut }] = begun as [Begun<T>]
    cut.throwIfAborted()
    let signal: AbortSignal | undefined
    const handlerContext: HandlerContext = {
      // Combined on demand: most handlers never look at it.
      get signal() {
        signal ??= AbortSignal.any([cut, ...begun.map(({ lease }) => lease.signal)])
        return signal
      },
      ...(tx === undefined ? {} : { tx }),
    }
    const handler = this.#handler as (input: unknown, given: HandlerContext) => Promise<void>
    await handler(this.#batches === undefined ? delivery : begun.map((each) => each.delivery), handlerContext)
  }

  async #timed(operation: string, run: () => Promise<void>): Promise<void> {
    const startedAt = performance.now()
    await run()
    this.#instruments.operation.record((performance.now() - startedAt) / 1000, { ...this.#labels, [attribute.operation]: operation })
  }
}
