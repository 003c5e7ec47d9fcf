import { orAborted, settlesWithin } from '@platform/kernel'
import { Backlog } from './backlog.ts'
import type { DriverSubscription, Lease } from './driver.ts'
import { QueueError } from './errors.ts'
import type { Cancellable, LoggerLike } from './shapes.ts'

export interface ConsumerStats {
  readonly inFlight: number
  /** Handled and acknowledged, duplicates included. */
  readonly processed: number
  readonly retried: number
  readonly deadLettered: number
  /** Recognised by the inbox. */
  readonly duplicates: number
}

/** A component: it subscribes in `ready` and takes messages until it is quiesced or closed. */
export interface Consumer {
  stats(): ConsumerStats
  /** Subscribes; resolves once the group exists. Waits while the server is down: a `signal` bounds that, the attempt goes on until `close`. */
  ready(options?: Cancellable): Promise<void>
  /** Resolves when messages are taken, to a warning when they are not at the moment, and rejects with ERR_QUEUE_UNAVAILABLE before it has subscribed. */
  check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }>
  /** Starts no further handler. */
  quiesce(): Promise<void>
  /** Waits for running handlers; rejects with ERR_QUEUE_CLOSED when `close` has given them up. */
  drain(options?: Cancellable): Promise<void>
  /** Drains; after `timeoutMs` (default 30,000) aborts the handlers' signal and gives their messages back. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export type Outcome = 'processed' | 'retried' | 'deadLettered' | 'duplicate' | 'released'

export interface ConsumerParts {
  /** For messages and logs: what is consumed, by which group, from what. */
  readonly destination: string
  readonly group: string
  readonly system: string
  readonly logger: LoggerLike
  subscribe(receive: (lease: Lease) => Promise<void>, signal: AbortSignal): Promise<DriverSubscription>
  /** Runs the handler and settles the lease; `cut` aborts when the time to close is over, `last` when nothing more is taken. */
  process(lease: Lease, cut: AbortSignal, last: AbortSignal): Promise<Outcome>
  readonly labels: Readonly<Record<string, string>>
  onUnsettled(): void
  onLost(): void
  onClosed(): void
}

/** For the one statement that gives back what was not finished. */
const giveBackMs = 5_000
/** A start that takes longer says what it waits for. */
const silenceMs = 2_000

export class MessageConsumer implements Consumer {
  readonly #parts: ConsumerParts
  readonly #stop = new AbortController()
  readonly #cut = new AbortController()
  readonly #counts = { inFlight: 0, processed: 0, retried: 0, deadLettered: 0, duplicates: 0 }
  #subscribing: Promise<DriverSubscription> | undefined
  #subscription: DriverSubscription | undefined
  #backlog: Backlog | undefined
  #idle: (() => void)[] = []
  #closed: Promise<void> | undefined

  constructor(parts: ConsumerParts) {
    this.#parts = parts
  }

  stats(): ConsumerStats {
    return { ...this.#counts }
  }

  async ready({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#stop.signal.throwIfAborted()
    this.#subscribing ??= this.#subscribe()
    await orAborted(this.#subscribing, signal)
  }

  async check({ signal }: Cancellable = {}): Promise<void | { status: 'warn'; message: string }> {
    signal?.throwIfAborted()
    if (this.#stop.signal.aborted) throw new QueueError('ERR_QUEUE_CLOSED', { destination: this.#parts.destination })
    const message = this.trouble()
    if (this.#subscription === undefined) {
      throw new QueueError('ERR_QUEUE_UNAVAILABLE', { destination: this.#parts.destination, detail: message })
    }
    if (message !== undefined) return { status: 'warn', message }
  }

  /** In one sentence why no messages are taken; `undefined` when all is well or it was never asked to subscribe. */
  trouble(): string | undefined {
    const { destination, group, system } = this.#parts
    const who = `the consumer of ${destination} (group ${group})`
    if (this.#subscription === undefined) {
      return this.#subscribing === undefined ? `${who} was not asked to be ready` : `${who} has not subscribed yet: it waits for ${system}`
    }
    const reason = this.#subscription.trouble()
    return reason === undefined ? undefined : `${who}: ${reason}`
  }

  get asked(): boolean {
    return this.#subscribing !== undefined
  }

  async quiesce(): Promise<void> {
    this.#stop.abort(new QueueError('ERR_QUEUE_CLOSED', { destination: this.#parts.destination }))
    await this.#subscription?.quiesce()
  }

  async drain({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    const bound = signal === undefined ? this.#cut.signal : AbortSignal.any([signal, this.#cut.signal])
    await orAborted(this.quiesce(), bound)
    if (this.#counts.inFlight > 0) await orAborted(new Promise<void>((resolve) => this.#idle.push(resolve)), bound)
  }

  close({ timeoutMs = 30_000 }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(timeoutMs: number): Promise<void> {
    const { destination, logger } = this.#parts
    this.#backlog?.end()
    if (!(await settlesWithin(this.drain(), timeoutMs))) this.#cut.abort(new QueueError('ERR_QUEUE_CLOSED', { destination }))
    // A server that does not answer must not hold the close; what this leaves behind ends with the connection.
    const closing = (this.#subscription?.close() ?? Promise.resolve()).catch((error: unknown) => {
      logger.warn({ err: error, destination }, 'unfinished messages could not be given back; their leases run out')
    })
    if (!(await settlesWithin(closing, giveBackMs))) {
      logger.warn({ destination }, 'unfinished messages could not be given back in time; their leases run out')
    }
    this.#parts.onClosed()
  }

  /** A refusal leaves the consumer as it was, so that `ready` can be called again. */
  async #subscribe(): Promise<DriverSubscription> {
    const { destination, group, system, logger } = this.#parts
    const { signal } = this.#stop
    const fields = { destination, group, system }
    let waited = false
    const telling = setTimeout(() => {
      waited = true
      logger.warn(fields, `consumer waits for ${system}: it cannot subscribe yet`)
    }, silenceMs)
    try {
      const subscribing = this.#parts.subscribe(this.#receive, signal)
      const subscription = await orAborted(subscribing, signal, (late) => void late.close().catch(() => {}))
      this.#subscription = subscription
      this.#backlog = new Backlog(subscription, this.#parts.labels)
      if (waited) logger.info(fields, 'consumer has subscribed')
      return subscription
    } catch (error) {
      this.#subscribing = undefined
      throw error
    } finally {
      clearTimeout(telling)
    }
  }

  readonly #receive = async (lease: Lease): Promise<void> => {
    this.#counts.inFlight += 1
    if (lease.envelope !== undefined) this.#backlog?.saw(lease.envelope.publishedAt)
    try {
      const outcome = await this.#parts.process(lease, this.#cut.signal, this.#stop.signal)
      if (outcome === 'duplicate') this.#counts.duplicates += 1
      if (outcome === 'duplicate' || outcome === 'processed') this.#counts.processed += 1
      if (outcome === 'retried' || outcome === 'deadLettered') this.#counts[outcome] += 1
    } catch (error) {
      // The message comes again: nothing is lost, so nothing is thrown.
      const { destination, group, logger } = this.#parts
      const fields = { err: error, destination, group, messageId: lease.envelope?.id }
      if (QueueError.isInstance(error) && error.code === 'ERR_QUEUE_LEASE_LOST') {
        logger.debug(fields, 'delivery was lost')
        this.#parts.onLost()
      } else {
        logger.warn(fields, 'delivery could not be settled; it comes again')
        this.#parts.onUnsettled()
      }
    } finally {
      this.#counts.inFlight -= 1
      if (this.#counts.inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }
}
