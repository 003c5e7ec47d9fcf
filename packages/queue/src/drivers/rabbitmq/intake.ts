import { backoffMs, orAborted, pause, settlesWithin } from '@platform/kernel'
import type { ConsumeMessage } from 'amqplib'
import type { LoggerLike } from '../../shapes.ts'
import { Generation } from './generation.ts'
import type { Link } from './link.ts'

export interface IntakeHandlers {
  message(message: ConsumeMessage, generation: Generation): void
  /** It is about to be acknowledged. */
  acknowledged?(message: ConsumeMessage): void
  /** The generation has ended: what it delivered is no longer ours. */
  ended(generation: Generation): void
}

const cancelTimeoutMs = 2_000

/** Keeps a consumer on a queue through lost channels, lost connections and cancels by the broker. */
export class Intake {
  readonly #link: Link
  readonly #queue: string
  readonly #prefetch: number
  readonly #handlers: IntakeHandlers
  readonly #prepare: () => Promise<void>
  readonly #logger: LoggerLike
  readonly #stop = new AbortController()
  #generation: Generation | undefined
  #tag: string | undefined
  #trouble: string | undefined
  readonly #loop: Promise<void>

  constructor(options: {
    link: Link
    queue: string
    prefetch: number
    handlers: IntakeHandlers
    /** Declares the queue anew: the broker may have lost or expired it. */
    prepare: () => Promise<void>
    logger: LoggerLike
  }) {
    this.#link = options.link
    this.#queue = options.queue
    this.#prefetch = options.prefetch
    this.#handlers = options.handlers
    this.#prepare = options.prepare
    this.#logger = options.logger
    this.#loop = this.#run()
  }

  trouble(): string | undefined {
    return this.#trouble
  }

  /** No delivery after this resolves; acknowledging goes on. */
  async cancel(): Promise<void> {
    this.#stop.abort()
    const generation = this.#generation
    if (generation?.alive === true && this.#tag !== undefined) {
      if (await settlesWithin(generation.channel.cancel(this.#tag), cancelTimeoutMs)) generation.gather()
    }
  }

  /** Closes the channel: the broker takes back what is not acknowledged, and lets nobody overtake it. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#generation?.close()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted; ) {
      try {
        const generation = await orAborted(this.#begin(failures > 0), signal)
        failures = 0
        this.#trouble = undefined
        await ended(generation.signal)
        this.#handlers.ended(generation)
        this.#trouble = 'its channel was lost; it subscribes anew'
        if (!signal.aborted) this.#logger.debug({ queue: this.#queue }, 'consumer lost its channel; subscribing anew')
      } catch (error) {
        if (signal.aborted) return
        this.#trouble = 'it cannot subscribe; it tries again'
        if (failures === 0) this.#logger.warn({ err: error, queue: this.#queue }, 'consumer cannot subscribe; retrying')
      }
      failures += 1
      await pause(20 + backoffMs(failures, 50, 5_000), signal).catch(() => {})
    }
  }

  async #begin(again: boolean): Promise<Generation> {
    await this.#link.connected(this.#stop.signal)
    if (again) await this.#prepare()
    const channel = await this.#link.open((connection) => connection.createChannel())
    const generation = new Generation(channel, (message) => this.#handlers.acknowledged?.(message))
    this.#generation = generation
    if (this.#stop.signal.aborted) return this.#abandon(generation)
    await generation.channel.prefetch(this.#prefetch)
    const consumerTag = await generation.consume(this.#queue, (message) => {
      // The broker cancelled the consumer. Its channel may still hold deliveries that it will not redeliver while it is open.
      if (message === null) {
        this.#logger.warn({ queue: this.#queue }, 'the broker ended the consumer, as it does when its queue is deleted; subscribing anew')
        void generation.close()
      } else if (generation.alive) this.#handlers.message(message, generation)
    })
    this.#tag = consumerTag
    return this.#stop.signal.aborted ? this.#abandon(generation) : generation
  }

  /** Stopped while it began: nobody else will close this channel. */
  async #abandon(generation: Generation): Promise<never> {
    await generation.close()
    throw this.#stop.signal.reason
  }
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
