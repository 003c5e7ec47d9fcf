import { backoffMs, pause } from '@platform/kernel'
import type { Channel, ConsumeMessage } from 'amqplib'
import { QueueError } from '../../errors.ts'
import type { LoggerLike } from '../../shapes.ts'
import { inTime } from './in-time.ts'
import type { Link } from './link.ts'

/** One life of the consumer's channel. Deliveries belong to it: on another channel their tags mean other messages. */
export class Generation {
  readonly channel: Channel
  readonly #lost = new AbortController()
  tag: string | undefined

  constructor(channel: Channel) {
    this.channel = channel
    channel.on('error', () => {})
    channel.once('close', () => this.end())
  }

  get signal(): AbortSignal {
    return this.#lost.signal
  }

  get alive(): boolean {
    return !this.#lost.signal.aborted
  }

  end(): void {
    this.#lost.abort(new QueueError('ERR_QUEUE_LEASE_LOST'))
  }

  ack(message: ConsumeMessage): void {
    this.#assertAlive()
    this.channel.ack(message)
  }

  requeue(message: ConsumeMessage): void {
    this.#assertAlive()
    this.channel.nack(message, false, true)
  }

  #assertAlive(): void {
    if (!this.alive) throw new QueueError('ERR_QUEUE_LEASE_LOST')
  }
}

export interface IntakeHandlers {
  message(message: ConsumeMessage, generation: Generation): void
  /** The generation has ended: what it delivered is no longer ours. */
  ended(generation: Generation): void
}

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

  /** No delivery after this resolves; acknowledging goes on. */
  async cancel(): Promise<void> {
    this.#stop.abort()
    const generation = this.#generation
    if (generation?.alive === true && generation.tag !== undefined) await inTime(generation.channel.cancel(generation.tag))
  }

  /** Closes the channel: the broker takes back what is not acknowledged. */
  async close(): Promise<void> {
    await this.cancel()
    const generation = this.#generation
    if (generation?.alive === true) {
      await inTime(generation.channel.close())
      generation.end()
    }
    await this.#loop
  }

  async #run(): Promise<void> {
    let failures = 0
    while (!this.#stop.signal.aborted) {
      try {
        const generation = await abortable(this.#begin(failures > 0), this.#stop.signal)
        failures = 0
        await ended(generation.signal)
        this.#handlers.ended(generation)
        if (!this.#stop.signal.aborted) this.#logger.debug({ queue: this.#queue }, 'consumer lost its channel; subscribing anew')
      } catch (error) {
        if (this.#stop.signal.aborted) return
        if (failures === 0) this.#logger.warn({ err: error, queue: this.#queue }, 'consumer cannot subscribe; retrying')
      }
      failures += 1
      await pause(backoffMs(failures, 50, 5_000), this.#stop.signal).catch(() => {})
    }
  }

  async #begin(again: boolean): Promise<Generation> {
    const connection = await this.#link.connection()
    if (again) await this.#prepare()
    const generation = new Generation(await connection.createChannel())
    if (this.#stop.signal.aborted) return this.#abandon(generation)
    this.#generation = generation
    await generation.channel.prefetch(this.#prefetch)
    const { consumerTag } = await generation.channel.consume(this.#queue, (message) => {
      // The broker cancelled the consumer. Its channel may still hold deliveries that it will not redeliver while it is open.
      if (message === null) void generation.channel.close().catch(() => generation.end())
      else if (generation.alive) this.#handlers.message(message, generation)
    })
    generation.tag = consumerTag
    return this.#stop.signal.aborted ? this.#abandon(generation) : generation
  }

  /** Stopped while it began: nobody else will close this channel. */
  async #abandon(generation: Generation): Promise<never> {
    await inTime(generation.channel.close())
    generation.end()
    throw this.#stop.signal.reason
  }
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  let leave: () => void = () => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    leave = () => reject(signal.reason as Error)
    signal.addEventListener('abort', leave, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
