import { context, isSpanContextValid, propagation, SpanKind, SpanStatusCode, trace, type Context } from '@opentelemetry/api'
import { onAbort } from './abort-listeners.ts'
import { Deadlines } from './deadlines.ts'
import type { DriverSession } from './driver.ts'
import { QueueError, type QueueErrorCode } from './errors.ts'
import { attribute, type Instruments } from './instrumentation.ts'
import type { OutgoingMessage } from './message.ts'
import type { ResolvedBrokerOptions } from './options.ts'

export interface SendOptions {
  signal?: AbortSignal | undefined
  /** The message becomes visible after this many milliseconds. Default 0. */
  delayMs?: number | undefined
}

/** Hands messages to the driver with a deadline, a bound and a span. */
export class Publisher {
  readonly #session: DriverSession
  readonly #options: ResolvedBrokerOptions
  readonly #instruments: Instruments
  readonly #deadlines: Deadlines
  #draining = false
  #pending = 0
  #idle: (() => void)[] = []

  constructor(session: DriverSession, options: ResolvedBrokerOptions, instruments: Instruments) {
    this.#session = session
    this.#options = options
    this.#instruments = instruments
    this.#deadlines = new Deadlines(options.publishTimeoutMs, () => new QueueError('ERR_QUEUE_TIMEOUT'))
  }

  get pending(): number {
    return this.#pending
  }

  /** Headers of a message created now: trace context first, then the service's own hooks. */
  headers(): Record<string, string> {
    const headers: Record<string, string> = {}
    propagation.inject(context.active(), headers)
    for (const hook of this.#options.outbound) hook(headers)
    return headers
  }

  /** Publishes inside a span that is the parent of what consumers do: `create` is called within it. */
  async publish(destination: string, create: () => Promise<OutgoingMessage>, options: SendOptions): Promise<{ id: string }> {
    const outgoing = { message: undefined as OutgoingMessage | undefined }
    await this.#within(destination, context.active(), async () => {
      outgoing.message = await create()
      await this.#hand(outgoing.message, options)
    })
    return { id: (outgoing.message as OutgoingMessage).envelope.id }
  }

  /** Publishes what was created earlier, in the trace of its creation. */
  async send(message: OutgoingMessage, options: SendOptions): Promise<void> {
    const creation = propagation.extract(context.active(), message.envelope.headers)
    await this.#within(message.destination, creation, () => this.#hand(message, options))
  }

  /** Refuses new publishes and waits for those under way. */
  async drain(): Promise<void> {
    this.#draining = true
    if (this.#pending > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Rejects what is still under way: its caller is told, and nothing of it is kept. */
  abandon(): void {
    this.#deadlines.abort(new QueueError('ERR_QUEUE_CLOSED'))
  }

  async #hand(message: OutgoingMessage, { signal, delayMs = 0 }: SendOptions): Promise<void> {
    const { destination, envelope, mandatory } = message
    signal?.throwIfAborted()
    const failed = (code: QueueErrorCode): QueueError => new QueueError(code, { destination, messageId: envelope.id })
    if (this.#draining) throw failed('ERR_QUEUE_CLOSED')
    if (this.#pending >= this.#options.maxPendingPublishes) throw failed('ERR_QUEUE_OVERFLOW')
    this.#pending += 1
    const deadline = this.#deadlines.begin()
    const bound = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal])
    try {
      await new Promise<void>((resolve, reject) => {
        const stopWaiting = onAbort(bound, () => reject(bound.reason as Error))
        this.#session.publish(destination, envelope, { delayMs, mandatory, signal: bound }).then(
          () => {
            stopWaiting()
            resolve()
          },
          (error: unknown) => {
            stopWaiting()
            reject(error as Error)
          },
        )
      })
    } catch (error) {
      // The limit is shared; whom it has hit is known here.
      if (error === deadline.signal.reason && QueueError.isInstance(error)) throw failed(error.code)
      throw error
    } finally {
      deadline.release()
      this.#pending -= 1
      if (this.#pending === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  async #within(destination: string, parent: Context, run: () => Promise<void>): Promise<void> {
    const attributes = {
      [attribute.system]: this.#options.driver.name,
      [attribute.destination]: destination,
      [attribute.operation]: 'publish',
    }
    const { tracer, sent, operation } = this.#instruments
    const span = tracer.startSpan(
      `publish ${destination}`,
      { kind: SpanKind.PRODUCER, attributes: { ...attributes, [attribute.operationType]: 'send' } },
      parent,
    )
    const startedAt = performance.now()
    let labels: Record<string, string> = attributes
    try {
      // Entering a context copies it: not where nobody traces.
      const inside = isSpanContextValid(span.spanContext()) ? trace.setSpan(parent, span) : parent
      await (inside === context.active() ? run() : context.with(inside, run))
    } catch (error) {
      const failure = { [attribute.errorType]: QueueError.isInstance(error) ? error.code : 'aborted' }
      labels = { ...attributes, ...failure }
      span.setStatus({ code: SpanStatusCode.ERROR })
      span.setAttributes(failure)
      throw error
    } finally {
      span.end()
      sent.add(1, labels)
      operation.record((performance.now() - startedAt) / 1000, labels)
    }
  }
}
