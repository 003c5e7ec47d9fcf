import { context, propagation, type Context } from '@opentelemetry/api'
import { onAbort } from './abort-listeners.ts'
import { Deadlines } from './deadlines.ts'
import type { DriverSession } from './driver.ts'
import { QueueError, type QueueErrorCode } from './errors.ts'
import type { Instruments } from './instrumentation.ts'
import type { OutgoingMessage } from './message.ts'
import type { ResolvedBrokerOptions } from './options.ts'
import { publishLabels, PublishTrace, type PublishLabels } from './publish-trace.ts'

export interface SendOptions {
  signal?: AbortSignal | undefined
  /** The message becomes visible after this many milliseconds. Default 0. */
  delayMs?: number | undefined
}

type Create = () => OutgoingMessage | Promise<OutgoingMessage>

/** Hands messages to the driver with a deadline, a bound and a span. */
export class Publisher {
  readonly #session: DriverSession
  readonly #options: ResolvedBrokerOptions
  readonly #instruments: Instruments
  readonly #deadlines: Deadlines
  readonly #labels = new Map<string, PublishLabels>()
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

  /** Publishes inside a span that is the parent of what consumers do: `create` is called within it. Resolves to the message's id; throws what is refused at once. */
  publish(destination: string, create: Create, options: SendOptions): Promise<string> {
    const trace = this.#trace(destination, context.active())
    return this.#within(trace, () => this.#handCreated(create, options, trace))
  }

  /** Publishes what was created earlier, in the trace of its creation. */
  send(message: OutgoingMessage, options: SendOptions): Promise<string> {
    const trace = this.#trace(message.destination, propagation.extract(context.active(), message.envelope.headers))
    return this.#within(trace, () => this.#hand(message, options, trace))
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

  #within(trace: PublishTrace, hand: () => Promise<string>): Promise<string> {
    try {
      return trace.within(hand)
    } catch (error) {
      trace.end(error)
      throw error
    }
  }

  #handCreated(create: Create, options: SendOptions, trace: PublishTrace): Promise<string> {
    const created = create()
    if (!(created instanceof Promise)) return this.#hand(created, options, trace)
    return created.then(
      (message) => this.#within(trace, () => this.#hand(message, options, trace)),
      (error: unknown) => {
        trace.end(error)
        throw error
      },
    )
  }

  /**
   * Throws at once what is refused at once; resolves to the message's id, when the trace has ended. What waits holds no body: the driver keeps it in its own form, and
   * hundreds that wait with both would be carried from one garbage collection to the next.
   */
  #hand(message: OutgoingMessage, { signal, delayMs = 0 }: SendOptions, trace: PublishTrace): Promise<string> {
    const { destination, mandatory } = message
    const messageId = message.envelope.id
    signal?.throwIfAborted()
    const refused = (code: QueueErrorCode): QueueError => new QueueError(code, { destination, messageId })
    if (this.#draining) throw refused('ERR_QUEUE_CLOSED')
    if (this.#pending >= this.#options.maxPendingPublishes) throw refused('ERR_QUEUE_OVERFLOW')
    this.#pending += 1
    const deadline = this.#deadlines.begin()
    const bound = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal])
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    let over = false
    const end = (): boolean => {
      if (over) return false
      over = true
      stopWaiting()
      deadline.release()
      this.#pending -= 1
      if (this.#pending === 0) for (const idle of this.#idle.splice(0)) idle()
      return true
    }
    const failed = (error: unknown): void => {
      if (!end()) return
      // The limit is shared; whom it has hit is known here.
      const told = error === deadline.signal.reason && QueueError.isInstance(error) ? refused(error.code) : error
      trace.end(told)
      reject(told as Error)
    }
    const stored = (): void => {
      if (!end()) return
      trace.end()
      resolve(messageId)
    }
    const stopWaiting = onAbort(bound, () => failed(bound.reason))
    try {
      this.#session.publish(destination, message.envelope, { delayMs, mandatory, signal: bound }).then(stored, failed)
    } catch (error) {
      failed(error)
    }
    return promise
  }

  #trace(destination: string, parent: Context): PublishTrace {
    let labels = this.#labels.get(destination)
    if (labels === undefined) this.#labels.set(destination, (labels = publishLabels(this.#options.driver.name, destination)))
    return new PublishTrace(this.#instruments, labels, parent)
  }
}
