import { backoffMs, pause } from '@platform/kernel'
import type { ConsumeMessage } from 'amqplib'
import { QueueError } from '../../errors.ts'
import { typed } from './faults.ts'
import type { Generation } from './generation.ts'
import type { ConfirmPublisher } from './publisher.ts'
import type { Tries } from './tries.ts'
import type { WaitQueues } from './wait-queues.ts'
import { copyOf, type Facts, type Target, type WireMessage } from './wire.ts'

export interface Delivered {
  readonly message: ConsumeMessage
  readonly generation: Generation
}

const tries = 4
const storeTimeoutMs = 10_000

/** How a delivery leaves its queue: first the copy, confirmed, then the acknowledgement. A crash in between makes two of it, never none. */
export class Settlement {
  readonly #queue: string
  readonly #dead: string
  readonly #publisher: ConfirmPublisher
  readonly #waits: WaitQueues
  readonly #restore: () => Promise<void>

  constructor(queue: string, dead: string, parts: { publisher: ConfirmPublisher; waits: WaitQueues; restore: () => Promise<void> }) {
    this.#queue = queue
    this.#dead = dead
    this.#publisher = parts.publisher
    this.#waits = parts.waits
    this.#restore = parts.restore
  }

  async retry({ message, generation }: Delivered, delayMs: number, { counted, shown }: Tries): Promise<void> {
    await this.store(() => this.#waits.ensure(this.#queue, delayMs, generation.signal), copyOf(message, { counted, shown }), generation)
    generation.ack(message)
  }

  async moveTo(queue: string, { message, generation }: Delivered, facts: Facts): Promise<void> {
    await this.store(() => ({ exchange: '', routingKey: queue }), copyOf(message, facts), generation)
    generation.ack(message)
  }

  /** The copy alone; the delivery stays in hand. */
  async bury({ message, generation }: Delivered, reason: string, { shown }: Tries, replays: number): Promise<void> {
    const facts = { shown: shown + 1, reason, deadAt: Date.now(), replays }
    await this.store(() => ({ exchange: '', routingKey: this.#dead }), copyOf(message, facts), generation)
  }

  /** Through a lost publishing connection and a deleted queue, for as long as the delivery is ours, a few times; then the caller gives it back. */
  async store(target: () => Target | Promise<Target>, message: WireMessage, { signal }: { signal: AbortSignal }): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const timeout = AbortSignal.timeout(storeTimeoutMs)
      const found: { target?: Target } = {}
      try {
        found.target = await target()
        return await this.#publisher.send(found.target, message, { mandatory: true, signal: AbortSignal.any([signal, timeout]) })
      } catch (error) {
        signal.throwIfAborted()
        const failure = timeout.aborted ? new QueueError('ERR_QUEUE_TIMEOUT', { detail: 'it could not be stored elsewhere' }) : typed(error)
        if (attempt === tries || failure.code === 'ERR_QUEUE_CLOSED') throw failure
        if (found.target !== undefined) this.#waits.forget(found.target.exchange)
        if (failure.code !== 'ERR_QUEUE_INDETERMINATE') await this.#restore().catch(() => {})
        await pause(backoffMs(attempt, 100, 1_000), signal)
      }
    }
  }
}
