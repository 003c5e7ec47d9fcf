import type { ConsumeMessage, Message } from 'amqplib'
import type { DeadLetter, DeadLetterStore } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { DeadReader } from './dead-reader.ts'
import { typed } from './faults.ts'
import type { Link } from './link.ts'
import { deadQueue } from './names.ts'
import { ParkedKeys } from './parked-keys.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { queueCounts } from './topology.ts'
import { controlToWire, copyOf, factsOf, fromWire, type WireMessage } from './wire.ts'

interface Bounded {
  signal: AbortSignal
}

/**
 * Dead letters lie in a queue of their group. Reading changes nothing and hides nothing: see `DeadReader`.
 */
export class RabbitmqDeadLetters implements DeadLetterStore {
  readonly #link: Link
  readonly #publisher: ConfirmPublisher
  readonly #reader: DeadReader

  constructor(link: Link, publisher: ConfirmPublisher) {
    this.#link = link
    this.#publisher = publisher
    this.#reader = new DeadReader(link)
  }

  async count(destination: string, group: string, { signal }: Bounded): Promise<number> {
    const queue = deadQueue(destination, group)
    return this.#typed(destination, async () => {
      const counts = await queueCounts(this.#link, queue, signal)
      if (counts === undefined) return 0
      // Nothing may mean that somebody is looking.
      return counts.messages > 0 && counts.consumers === 0 ? counts.messages : this.#reader.alone(queue, signal, async (total) => total)
    })
  }

  async list(destination: string, group: string, { limit, signal }: Bounded & { limit: number }): Promise<DeadLetter[]> {
    return this.#typed(destination, async () => {
      const messages: Message[] = []
      await this.#reader.read(deadQueue(destination, group), signal, (message) => messages.push(message) === limit, limit)
      const parked = await this.#parkedKeys(destination, group, signal)
      return Promise.all(messages.map(async (message) => toDeadLetter(message, await parked.waitsFor(fromWire(message)))))
    })
  }

  async replay(destination: string, group: string, ids: readonly string[], { signal }: Bounded): Promise<number> {
    return this.#typed(destination, async () => {
      const parked = await this.#parkedKeys(destination, group, signal)
      return this.#take(deadQueue(destination, group), ids, signal, async (message) => {
        const envelope = fromWire(message)
        const letter = copyOf(message, { replays: factsOf(message).replays + 1 })
        const waiting = await parked.waitsFor(envelope)
        // The member at work puts it in front of the messages that wait for it.
        if (waiting !== undefined) await this.#send(waiting.queue, controlToWire({ op: 'replay', ...waiting.parked }, letter), signal)
        else await this.#send(parked.home(envelope), letter, signal)
      })
    })
  }

  async discard(destination: string, group: string, ids: readonly string[], { signal }: Bounded): Promise<number> {
    return this.#typed(destination, async () => {
      const parked = await this.#parkedKeys(destination, group, signal)
      return this.#take(deadQueue(destination, group), ids, signal, async (message) => {
        const waiting = await parked.waitsFor(fromWire(message))
        if (waiting !== undefined) await this.#send(waiting.queue, controlToWire({ op: 'release', ...waiting.parked }), signal)
      })
    })
  }

  async release(destination: string, group: string, key: string, { signal }: Bounded): Promise<void> {
    await this.#typed(destination, async () => {
      const waiting = await (await this.#parkedKeys(destination, group, signal)).find(key)
      if (waiting === undefined) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
      await this.#send(waiting.queue, controlToWire({ op: 'release', ...waiting.parked }), signal)
    })
  }

  async #send(queue: string, message: WireMessage, signal: AbortSignal): Promise<void> {
    await this.#publisher.send({ exchange: '', routingKey: queue }, message, { mandatory: true, signal })
  }

  #parkedKeys(destination: string, group: string, signal: AbortSignal): Promise<ParkedKeys> {
    return ParkedKeys.of(this.#link, this.#publisher, { destination, group }, signal)
  }

  async #take(
    queue: string,
    ids: readonly string[],
    signal: AbortSignal,
    each: (message: ConsumeMessage) => Promise<void>,
  ): Promise<number> {
    const wanted = new Set(ids)
    let taken = 0
    await this.#reader.read(queue, signal, async (message, ack) => {
      if (!wanted.delete(idOf(message))) return false
      await each(message)
      ack()
      taken += 1
      return wanted.size === 0
    })
    return taken
  }

  async #typed<T>(destination: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof Error && !QueueError.isInstance(error) && error.name === 'AbortError') throw error
      throw typed(error, { destination })
    }
  }
}

function idOf(message: Message): string {
  return fromWire(message)?.id ?? (typeof message.properties.messageId === 'string' ? message.properties.messageId : '')
}

function toDeadLetter(message: Message, waiting: object | undefined): DeadLetter {
  const envelope = fromWire(message)
  const { shown, reason, deadAt, replays } = factsOf(message)
  return {
    id: idOf(message),
    key: envelope?.key,
    body: message.content.toString(),
    headers: envelope?.headers ?? {},
    publishedAt: new Date(envelope?.publishedAt ?? 0),
    attempt: shown,
    reason,
    deadAt: new Date(deadAt),
    replays,
    parked: waiting !== undefined,
  }
}
