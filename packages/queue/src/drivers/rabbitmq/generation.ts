import { backgroundTimeout, orAborted, settlesWithin } from '@platform/kernel'
import type { Channel, ConsumeMessage, GetMessage } from 'amqplib'
import { QueueError } from '../../errors.ts'

const closeTimeoutMs = 2_000
const gatherMs = 100

/**
 * One life of a channel that messages come from. Deliveries belong to it: on another channel their tags mean other messages.
 *
 * Acknowledgements of one turn of the event loop leave together: one frame says of all deliveries up to a tag that they are done, where
 * nothing before it is still open. So every message has to come through here, and to go back through here.
 */
export class Generation {
  readonly channel: Channel
  readonly #lost = new AbortController()
  /** Tags of what was delivered and is not settled, in the order of their numbers. */
  readonly #open = new Set<number>()
  /** Those of them that are done and not yet said to be. */
  readonly #done = new Set<number>()
  readonly #acknowledged: (message: ConsumeMessage) => void
  #gathering: NodeJS.Timeout | 'not' | 'idle' = 'not'
  #closing = false

  constructor(channel: Channel, acknowledged: (message: ConsumeMessage) => void = () => {}) {
    this.channel = channel
    this.#acknowledged = acknowledged
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
    this.#open.clear()
    this.#done.clear()
    this.#lost.abort(new QueueError('ERR_QUEUE_LEASE_LOST'))
  }

  /** `null` when the broker ended the consumer. Resolves to its tag. */
  async consume(queue: string, each: (message: ConsumeMessage | null) => void): Promise<string> {
    const { consumerTag } = await this.channel.consume(queue, (message) => {
      if (message !== null) this.#open.add(message.fields.deliveryTag)
      each(message)
    })
    return consumerTag
  }

  /** Rejects when the channel ends. One that ends in the middle of the message leaves the client's own promise open for ever. */
  async get(queue: string): Promise<ConsumeMessage | undefined> {
    const message: GetMessage | false = await orAborted(this.channel.get(queue), this.signal)
    if (message === false) return undefined
    this.#open.add(message.fields.deliveryTag)
    return message as unknown as ConsumeMessage
  }

  ack(message: ConsumeMessage): void {
    this.#assertAlive()
    if (this.#gathering === 'idle') this.#gathering = backgroundTimeout(this.#sayDone, gatherMs)
    else if (this.#gathering === 'not' && this.#done.size === 0) process.nextTick(this.#sayDone)
    this.#done.add(message.fields.deliveryTag)
    this.#acknowledged(message)
  }

  /**
   * Called when the broker has ended the consumer, and with that has heard of all acknowledgements before. Those that follow may be the last before
   * the channel is closed, and of more than a few at a time it keeps some back, to lose them with the channel: they leave as few.
   */
  gather(): void {
    if (this.#gathering === 'not') this.#gathering = 'idle'
  }

  requeue(message: ConsumeMessage): void {
    this.#assertAlive()
    this.#open.delete(message.fields.deliveryTag)
    this.channel.nack(message, false, true)
  }

  /** The broker takes back, in order, what is not acknowledged. A channel that was silent is ended all the same. */
  async close(): Promise<void> {
    this.#sayDone()
    this.#closing = true
    if (this.alive) await settlesWithin(this.channel.close(), closeTimeoutMs)
    this.end()
  }

  readonly #sayDone = (): void => {
    if (this.#gathering !== 'not') {
      if (this.#gathering !== 'idle') clearTimeout(this.#gathering)
      this.#gathering = 'idle'
    }
    try {
      this.#acknowledge()
    } catch {
      // The channel is about to end: what it holds comes again.
    }
    this.#done.clear()
  }

  #acknowledge(): void {
    let last = 0
    let several = false
    for (const tag of this.#open) {
      if (!this.#done.delete(tag)) break
      several = last > 0
      last = tag
      this.#open.delete(tag)
    }
    if (last > 0) this.#ack(last, several)
    for (const tag of this.#done) {
      this.#open.delete(tag)
      this.#ack(tag, false)
    }
  }

  #ack(deliveryTag: number, upTo: boolean): void {
    // The client looks at nothing else.
    this.channel.ack({ fields: { deliveryTag } } as ConsumeMessage, upTo)
  }

  #assertAlive(): void {
    if (!this.alive || this.#closing) throw new QueueError('ERR_QUEUE_LEASE_LOST')
  }
}
