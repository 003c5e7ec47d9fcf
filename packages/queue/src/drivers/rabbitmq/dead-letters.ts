import type { ConsumeMessage, Message } from 'amqplib'
import type { DeadLetter, DeadLetterStore } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { DeadReader } from './dead-reader.ts'
import { typed } from './faults.ts'
import { KeyLog } from './key-log.ts'
import type { Link } from './link.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { deadQueue, keyLog, queueCounts, queueName } from './topology.ts'
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
    const queue = deadQueue(queueName(destination, group))
    return this.#typed(destination, async () => {
      const counts = await queueCounts(this.#link, queue, signal)
      if (counts === undefined) return 0
      // Nothing may mean that somebody is looking.
      return counts.messages > 0 && counts.consumers === 0 ? counts.messages : this.#reader.alone(queue, signal, async (total) => total)
    })
  }

  async list(destination: string, group: string, { limit, signal }: Bounded & { limit: number }): Promise<DeadLetter[]> {
    const queue = queueName(destination, group)
    return this.#typed(destination, async () => {
      const messages: Message[] = []
      await this.#reader.read(deadQueue(queue), signal, (message) => messages.push(message) === limit, limit)
      const parked = messages.some((message) => fromWire(message)?.key !== undefined)
        ? await this.#parkedKeys(queue, signal)
        : new Map<string, string>()
      return messages.map((message) => toDeadLetter(message, parked))
    })
  }

  async replay(destination: string, group: string, ids: readonly string[], { signal }: Bounded): Promise<number> {
    const queue = queueName(destination, group)
    return this.#typed(destination, async () => {
      const parked = await this.#parkedKeys(queue, signal)
      return this.#take(queue, ids, signal, async (message) => {
        const envelope = fromWire(message)
        const letter = copyOf(message, { replays: factsOf(message).replays + 1 })
        const key = envelope?.key
        // The member at work puts it in front of the messages that wait for it.
        const waited = envelope !== undefined && key !== undefined && parked.get(key) === envelope.id
        await this.#send(queue, waited ? controlToWire({ op: 'replay', key, id: envelope.id }, letter) : letter, signal)
      })
    })
  }

  async discard(destination: string, group: string, ids: readonly string[], { signal }: Bounded): Promise<number> {
    const queue = queueName(destination, group)
    return this.#typed(destination, async () => {
      const parked = await this.#parkedKeys(queue, signal)
      return this.#take(queue, ids, signal, async (message) => {
        const envelope = fromWire(message)
        if (envelope?.key === undefined || parked.get(envelope.key) !== envelope.id) return
        await this.#send(queue, controlToWire({ op: 'release', key: envelope.key, id: envelope.id }), signal)
      })
    })
  }

  async release(destination: string, group: string, key: string, { signal }: Bounded): Promise<void> {
    const queue = queueName(destination, group)
    await this.#typed(destination, async () => {
      const id = (await this.#parkedKeys(queue, signal)).get(key)
      if (id === undefined) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
      await this.#send(queue, controlToWire({ op: 'release', key, id }), signal)
    })
  }

  async #send(queue: string, message: WireMessage, signal: AbortSignal): Promise<void> {
    await this.#publisher.send({ exchange: '', routingKey: queue }, message, { mandatory: true, signal })
  }

  /** Only ordered groups have a log of their keys. */
  async #parkedKeys(queue: string, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    if ((await queueCounts(this.#link, keyLog(queue), signal)) === undefined) return new Map()
    return new KeyLog(this.#link, this.#publisher, queue).peek(signal)
  }

  async #take(
    queue: string,
    ids: readonly string[],
    signal: AbortSignal,
    each: (message: ConsumeMessage) => Promise<void>,
  ): Promise<number> {
    const wanted = new Set(ids)
    let taken = 0
    await this.#reader.read(deadQueue(queue), signal, async (message, ack) => {
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

function toDeadLetter(message: Message, parked: ReadonlyMap<string, string>): DeadLetter {
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
    parked: envelope?.key !== undefined && parked.get(envelope.key) === envelope.id,
  }
}
