import { pause } from '@platform/kernel'
import type { Channel, ConsumeMessage } from 'amqplib'
import { QueueError } from '../../errors.ts'
import { replyCode } from './faults.ts'
import type { Link } from './link.ts'
import { queueCounts } from './topology.ts'

const lookMs = 20
/** How long a reader who leaves waits until the broker has everything back. */
const returnLooks = 100

type Each = (message: ConsumeMessage, ack: () => void) => boolean | Promise<boolean>

/**
 * Reads a queue and leaves it as it was. A queue can only be looked at by taking its messages; so one reader at a time does, over all
 * processes, and has put everything back, in order, before the next one looks. The lock is a queue that the broker gives to one connection
 * and takes away with it.
 */
export class DeadReader {
  readonly #link: Link
  /** The connection is one for the broker: its users take turns here. */
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(link: Link) {
    this.#link = link
  }

  /** Hands over every message, oldest first, until `each` has seen enough. */
  async read(queue: string, signal: AbortSignal, each: Each, atMost = 0): Promise<void> {
    await this.alone(queue, signal, async (total, left) => {
      if (total === 0) return
      const taken = await this.#link.withChannel((channel) => readTotal(channel, queue, total, each, atMost, signal), signal)
      left(total - taken)
    })
  }

  /** While nobody else looks; `work` is told how many messages there are, and tells how many there should be after it. */
  alone<T>(queue: string, signal: AbortSignal, work: (total: number, left: (count: number) => void) => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(queue) ?? Promise.resolve()).then(() => this.#locked(queue, signal, work))
    const over = turn
      .catch(() => {})
      .finally(() => {
        if (this.#turns.get(queue) === over) this.#turns.delete(queue)
      })
    this.#turns.set(queue, over)
    return turn
  }

  async #locked<T>(queue: string, signal: AbortSignal, work: (total: number, left: (count: number) => void) => Promise<T>): Promise<T> {
    const lock = `${queue}/reading`
    for (;;) {
      signal.throwIfAborted()
      if ((await queueCounts(this.#link, queue, signal)) === undefined) return await work(0, () => {})
      try {
        return await this.#link.withChannel(async (channel) => {
          await channel.assertQueue(lock, { exclusive: true, durable: false })
          try {
            const { messageCount } = await channel.checkQueue(queue)
            let expected = 0
            const result = await work(messageCount, (count) => (expected = count))
            await isBack(channel, queue, expected)
            return result
          } finally {
            await this.#unlock(channel, lock)
          }
        }, signal)
      } catch (error) {
        if (replyCode(error) !== 405) throw error
      }
      await pause(lookMs + Math.random() * lookMs, signal)
    }
  }

  /** Also when the channel was closed by what went wrong on it: the connection would keep the lock. */
  async #unlock(channel: Channel, lock: string): Promise<void> {
    try {
      await channel.deleteQueue(lock)
    } catch {
      // When that fails too, the connection is gone, and the lock with it.
      await this.#link.withChannel((fresh) => fresh.deleteQueue(lock)).catch(() => {})
    }
  }
}

async function readTotal(channel: Channel, queue: string, total: number, each: Each, atMost: number, signal: AbortSignal): Promise<number> {
  const arrived: ConsumeMessage[] = []
  let wake: () => void = () => {}
  let broken = false
  channel.once('close', () => {
    broken = true
    wake()
  })
  if (atMost > 0) await channel.prefetch(Math.min(atMost, 65_535))
  await channel.consume(queue, (message) => {
    if (message === null) broken = true
    else arrived.push(message)
    wake()
  })
  let taken = 0
  for (let seen = 0; seen < total; ) {
    const message = arrived.shift()
    if (message === undefined) {
      signal.throwIfAborted()
      if (broken) throw new QueueError('ERR_QUEUE_UNAVAILABLE', { detail: 'the reading of dead letters was broken off' })
      await new Promise<void>((resolve) => {
        wake = resolve
        setTimeout(resolve, lookMs * 10)
      })
      continue
    }
    seen += 1
    const enough = await each(message, () => {
      channel.ack(message)
      taken += 1
    })
    if (enough) break
  }
  return taken
}

async function isBack(channel: Channel, queue: string, expected: number): Promise<void> {
  for (let look = 0; look < returnLooks; look += 1) {
    if ((await channel.checkQueue(queue)).messageCount >= expected) return
    await pause(lookMs)
  }
}
