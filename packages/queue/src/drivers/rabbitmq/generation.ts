import { settlesWithin } from '@platform/kernel'
import type { Channel, ConsumeMessage } from 'amqplib'
import { QueueError } from '../../errors.ts'

const closeTimeoutMs = 2_000

/** One life of a channel that messages come from. Deliveries belong to it: on another channel their tags mean other messages. */
export class Generation {
  readonly channel: Channel
  readonly #lost = new AbortController()

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

  /** The broker takes back, in order, what is not acknowledged. A channel that was silent is ended all the same. */
  async close(): Promise<void> {
    if (this.alive) await settlesWithin(this.channel.close(), closeTimeoutMs)
    this.end()
  }

  #assertAlive(): void {
    if (!this.alive) throw new QueueError('ERR_QUEUE_LEASE_LOST')
  }
}
