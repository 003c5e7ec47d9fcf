import { Batches } from './batches.ts'
import type { Outcome } from './consumer.ts'
import type { Envelope, Lease } from './driver.ts'
import type { AnyHandler, HandlerContext } from './handler.ts'
import type { Instruments } from './instrumentation.ts'
import { decode, type Delivery, type Message } from './message.ts'
import type { ResolvedBrokerOptions, ResolvedConsumerOptions } from './options.ts'
import { processLabels, ProcessTrace, type ProcessLabels } from './process-trace.ts'
import { exhaustedBefore, judgeFailure } from './retry.ts'
import type { TransactionLike } from './shapes.ts'
import type { Solo } from './solo.ts'

/** A delivery that a handler is to get. */
interface Begun<T> {
  readonly delivery: Delivery<T>
  readonly lease: Lease
  readonly cut: AbortSignal
  /** Aborts when nothing more is taken: no batch grows from then on. */
  readonly last: AbortSignal
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
  readonly #labels: ProcessLabels
  readonly #inboxConsumer: string

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
    this.#labels = processLabels(broker.driver.name, destination, options.group)
    this.#inboxConsumer = `${broker.service}/${destination}/${options.group}`
    this.#batches = options.batch === undefined ? undefined : new Batches(options.batch, (begun) => this.#handle(begun))
  }

  readonly process = async (lease: Lease, cut: AbortSignal, last: AbortSignal): Promise<Outcome> => {
    const { envelope } = lease
    if (envelope === undefined) return this.#bury(lease, 'invalid: not a message of this library')
    const exhausted = exhaustedBefore(lease.begun, this.#options.retry)
    if (exhausted !== undefined) return this.#bury(lease, exhausted)
    const decoding = decode(this.#message, envelope)
    const decoded = decoding instanceof Promise ? await decoding : decoding
    if ('reason' in decoded) return this.#bury(lease, decoded.reason)

    const begun = { delivery: deliveryOf(envelope, decoded.body, lease.attempt), lease, cut, last }
    let outcome: Outcome
    try {
      outcome = await (lease.alone ? this.#run(envelope, begun) : this.#runBeside(envelope, begun))
    } catch (error) {
      return this.#settleFailure(lease, envelope, error, cut)
    }
    await this.#timed('ack', () => lease.ack())
    if (outcome === 'duplicate') this.#instruments.duplicates.add(1, this.#labels.metrics)
    return outcome
  }

  get labels(): Readonly<Record<string, string>> {
    return this.#labels.metrics
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
    this.#instruments.retried.add(1, this.#labels.metrics)
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
    this.#instruments.deadLettered.add(1, this.#labels.metrics)
    return 'deadLettered'
  }

  async #runBeside(envelope: Envelope, begun: Begun<T>): Promise<Outcome> {
    const free = this.#solo.enter()
    if (free !== undefined) await free
    try {
      return await this.#run(envelope, begun)
    } finally {
      this.#solo.leave()
    }
  }

  #run(envelope: Envelope, begun: Begun<T>): Promise<Outcome> {
    begun.cut.throwIfAborted()
    const inbound = this.#broker.inbound
    if (inbound.length === 0) return this.#traced(envelope, begun)
    const request = { method: 'PROCESS', url: this.#destination, headers: { ...envelope.headers } }
    const enter = (index: number): Promise<Outcome> => {
      const hook = inbound[index]
      return hook === undefined ? this.#traced(envelope, begun) : hook(request, () => enter(index + 1))
    }
    return enter(0)
  }

  async #traced(envelope: Envelope, begun: Begun<T>): Promise<Outcome> {
    const trace = new ProcessTrace(this.#instruments, this.#labels, envelope)
    try {
      return await trace.within(() => this.#begin(begun))
    } catch (error) {
      trace.failed(error)
      throw error
    } finally {
      trace.end()
    }
  }

  async #begin(begun: Begun<T>): Promise<Outcome> {
    if (this.#batches !== undefined) return this.#batches.add(begun, begun.last)
    if (this.#options.inbox !== undefined) return (await this.#handle([begun]))[0] as Outcome
    await this.#call([begun])
    return 'processed'
  }

  /** Together, in one transaction where there is an inbox; single messages are batches of one. */
  async #handle(begun: readonly Begun<T>[]): Promise<Outcome[]> {
    const { inbox } = this.#options
    if (inbox === undefined) {
      await this.#call(begun)
      return begun.map(() => 'processed')
    }
    const first = new Set<Begun<T>>()
    const ids = begun.map(({ delivery }) => delivery.id)
    await inbox.onceEach(this.#inboxConsumer, ids, async (tx, fresh) => {
      const left = new Set(fresh)
      for (const each of begun) if (left.delete(each.delivery.id)) first.add(each)
      await this.#call([...first], tx)
    })
    return begun.map((each) => (first.has(each) ? 'processed' : 'duplicate'))
  }

  #call(begun: readonly Begun<T>[], tx?: TransactionLike): Promise<void> {
    const [{ delivery, cut }] = begun as [Begun<T>]
    cut.throwIfAborted()
    const handler = this.#handler as (input: unknown, given: HandlerContext) => Promise<void>
    return handler(this.#batches === undefined ? delivery : begun.map((each) => each.delivery), new GivenContext(begun, tx))
  }

  async #timed(operation: 'ack' | 'retry' | 'deadLetter', run: () => Promise<void>): Promise<void> {
    const startedAt = performance.now()
    await run()
    this.#instruments.operation.record((performance.now() - startedAt) / 1000, this.#labels.operations[operation])
  }
}

/** Combines the signals on demand: most handlers never look. */
class GivenContext implements HandlerContext {
  declare readonly tx?: TransactionLike
  readonly #begun: readonly Begun<unknown>[]
  #signal: AbortSignal | undefined

  constructor(begun: readonly Begun<unknown>[], tx: TransactionLike | undefined) {
    this.#begun = begun
    if (tx !== undefined) this.tx = tx
  }

  get signal(): AbortSignal {
    const [{ cut }] = this.#begun as [Begun<unknown>]
    this.#signal ??= AbortSignal.any([cut, ...this.#begun.map(({ lease }) => lease.signal)])
    return this.#signal
  }
}

function deliveryOf<T>({ id, key, headers, publishedAt }: Envelope, body: T, attempt: number): Delivery<T> {
  const delivery = { id, body, attempt, headers, publishedAt: new Date(publishedAt) }
  return key === undefined ? delivery : { ...delivery, key }
}
