import { pause } from '@platform/kernel'
import type { Channel, GetMessage, Message } from 'amqplib'
import type { DeadLetter, DeadLetterStore } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Cancellable } from '../../shapes.ts'
import { KeyLog } from './key-log.ts'
import type { Link } from './link.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { deadQueue, keyLog, queueName } from './topology.ts'
import { controlToWire, copyOf, factsOf, fromWire, type Control } from './wire.ts'

/** Dead letters lie in a queue of their group; looking at them takes them out for a moment and puts them back. */
export class RabbitmqDeadLetters implements DeadLetterStore {
  readonly #link: Link
  readonly #publisher: ConfirmPublisher

  constructor(link: Link, publisher: ConfirmPublisher) {
    this.#link = link
    this.#publisher = publisher
  }

  async count(destination: string, group: string): Promise<number> {
    return (await this.#messageCount(deadQueue(queueName(destination, group)))) ?? 0
  }

  async list(destination: string, group: string, { limit, signal }: Cancellable & { limit: number }): Promise<DeadLetter[]> {
    const queue = queueName(destination, group)
    if ((await this.#messageCount(deadQueue(queue))) === undefined) return []
    const parked = await this.#parkedKeys(queue, signal)
    return this.#browse(deadQueue(queue), async (next) => {
      const letters: DeadLetter[] = []
      while (letters.length < limit) {
        const message = await next()
        if (message === undefined) break
        letters.push(toDeadLetter(message, parked))
      }
      return letters
    })
  }

  async replay(destination: string, group: string, id: string, { signal }: Cancellable): Promise<void> {
    const queue = queueName(destination, group)
    const missing = (): QueueError => new QueueError('ERR_QUEUE_NOT_FOUND', { destination, messageId: id })
    if ((await this.#messageCount(deadQueue(queue))) === undefined) throw missing()
    const parked = await this.#parkedKeys(queue, signal)
    const key = await this.#browse(deadQueue(queue), async (next, take) => {
      for (let message = await next(); message !== undefined; message = await next()) {
        if (message.properties.messageId !== id) continue
        const itsKey = fromWire(message)?.key
        // The member at work takes it, together with the messages that wait for it.
        if (itsKey !== undefined && parked.get(itsKey) === id) return itsKey
        await this.#send(queue, copyOf(message, { attempt: 1 }), signal)
        take(message)
        return undefined
      }
      throw missing()
    })
    if (key !== undefined) await this.#order(queue, { op: 'replay', key, id }, signal)
  }

  async release(destination: string, group: string, key: string, { signal }: Cancellable): Promise<void> {
    const queue = queueName(destination, group)
    const id = (await this.#parkedKeys(queue, signal)).get(key)
    if (id === undefined) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
    await this.#order(queue, { op: 'release', key, id }, signal)
  }

  async #order(queue: string, control: Control, signal: AbortSignal | undefined): Promise<void> {
    await this.#send(queue, controlToWire(control), signal)
  }

  async #send(queue: string, message: ReturnType<typeof controlToWire>, signal: AbortSignal | undefined): Promise<void> {
    await this.#publisher.send({ exchange: '', routingKey: queue }, message, {
      mandatory: true,
      signal: signal ?? new AbortController().signal,
    })
  }

  /** Only ordered groups have a log of their keys. */
  async #parkedKeys(queue: string, signal: AbortSignal | undefined): Promise<Map<string, string>> {
    if ((await this.#messageCount(keyLog(queue))) === undefined) return new Map()
    return new KeyLog(this.#link, this.#publisher, queue).read(signal ?? new AbortController().signal)
  }

  async #messageCount(queue: string): Promise<number | undefined> {
    return this.#link.withChannel(async (channel) => {
      try {
        return (await channel.checkQueue(queue)).messageCount
      } catch (error) {
        if ((error as { code?: unknown }).code === 404) return undefined
        throw error
      }
    })
  }

  /** The broker puts them back in its own time; who looks again should find them. */
  async #returned(channel: Channel, queue: string, expected: number): Promise<void> {
    for (let look = 0; look < 20; look += 1) {
      if ((await channel.checkQueue(queue)).messageCount >= expected) return
      await pause(25)
    }
  }

  async #browse<T>(
    queue: string,
    look: (next: () => Promise<GetMessage | undefined>, take: (message: GetMessage) => void) => Promise<T>,
  ): Promise<T> {
    return this.#link.withChannel(async (channel) => {
      let taken = 0
      let kept = true
      const take = (message: GetMessage): void => {
        kept = false
        channel.ack(message)
      }
      const next = async (): Promise<GetMessage | undefined> => {
        const message = await channel.get(queue)
        if (message === false) return undefined
        taken += 1
        return message
      }
      try {
        return await look(next, take)
      } finally {
        channel.nackAll(true)
        await this.#returned(channel, queue, taken - (kept ? 0 : 1))
      }
    })
  }
}

function toDeadLetter(message: Message, parked: ReadonlyMap<string, string>): DeadLetter {
  const envelope = fromWire(message)
  const { attempt, reason, deadAt } = factsOf(message)
  return {
    id: envelope?.id ?? String(message.properties.messageId ?? ''),
    key: envelope?.key,
    body: message.content.toString(),
    headers: envelope?.headers ?? {},
    publishedAt: new Date(envelope?.publishedAt ?? 0),
    attempt,
    reason,
    deadAt: new Date(deadAt),
    parked: envelope?.key !== undefined && parked.get(envelope.key) === envelope.id,
  }
}
