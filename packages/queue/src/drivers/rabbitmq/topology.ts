import type { Channel, Options } from 'amqplib'
import type { Subscription } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Link } from './link.ts'

/** How long a broadcast queue outlives its process: so long a disconnected process still gets what it missed. */
const broadcastIdleMs = 60_000
/** A wait queue is declared anew before this has passed since the last declaration, and so never expires with messages in it. */
const declarationFreshMs = 30_000
const noLimit = 1_000_000_000

export const exchangeName = (destination: string): string => `platform/${destination}`
export const queueName = (destination: string, group: string): string => `platform/${destination}/${group}`
export const deadQueue = (queue: string): string => `${queue}/dead`
export const parkedQueue = (queue: string): string => `${queue}/parked`
export const keyLog = (queue: string): string => `${queue}/keys`
/** Exists once a group has subscribed; never consumed. */
const markerQueue = (destination: string): string => `platform/${destination}/`

const quorum: Options.AssertQueue = { durable: true, arguments: { 'x-queue-type': 'quorum' } }
/** Browsing hands every message back, which counts as a delivery; 4.0 and later would drop it after 20. */
const store: Options.AssertQueue = { durable: true, arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': noLimit } }

/** Declares what a subscription needs: all of it durable, so that the broker keeps for the group what is published from then on. */
export async function declareSubscription(link: Link, { destination, group, ordered, broadcast }: Subscription): Promise<string> {
  const queue = queueName(destination, group)
  try {
    await link.withChannel(async (channel) => {
      await declareExchange(channel, destination)
      if (broadcast) {
        await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'classic', 'x-expires': broadcastIdleMs } })
      } else {
        await channel.assertQueue(deadQueue(queue), store)
        if (ordered) {
          await channel.assertQueue(parkedQueue(queue), store)
          await channel.assertQueue(keyLog(queue), { durable: true, arguments: { 'x-queue-type': 'stream' } })
        }
        await channel.assertQueue(queue, {
          durable: true,
          arguments: {
            'x-queue-type': 'quorum',
            // The core judges attempts; the broker's limit only catches what the core never gets to see.
            'x-delivery-limit': 10_000,
            'x-dead-letter-exchange': '',
            'x-dead-letter-routing-key': deadQueue(queue),
            'x-dead-letter-strategy': 'at-least-once',
            'x-overflow': 'reject-publish',
            ...(ordered ? { 'x-single-active-consumer': true } : {}),
          },
        })
        await channel.assertQueue(markerQueue(destination), quorum)
      }
      await channel.bindQueue(queue, exchangeName(destination), '')
    })
  } catch (error) {
    if ((error as { code?: unknown }).code !== 406) throw error
    throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group}`, cause: error })
  }
  return queue
}

export async function declareExchange(channel: Channel, destination: string): Promise<void> {
  await channel.assertExchange(exchangeName(destination), 'fanout', { durable: true })
}

/** Whether a group has ever subscribed. */
export async function hasGroup(link: Link, destination: string): Promise<boolean> {
  return link.withChannel(async (channel) => {
    try {
      await channel.checkQueue(markerQueue(destination))
      return true
    } catch (error) {
      if ((error as { code?: unknown }).code === 404) return false
      throw error
    }
  })
}

/**
 * Wait queues: one for each length of pause, since the broker looks only at the head of a queue for what has run out. Pauses are rounded
 * up to four steps an octave, at most a quarter longer, so that their number stays small; unused ones expire.
 */
export class WaitQueues {
  readonly #link: Link
  readonly #declared = new Map<string, { at: number; done: Promise<void> }>()

  constructor(link: Link) {
    this.#link = link
  }

  /** The queue's name, once it exists. Afterwards its messages go to the exchange and routing key. */
  async ensure(target: { exchange: string; routingKey: string }, delayMs: number): Promise<string> {
    const ttl = roundUp(delayMs)
    const name = `${target.exchange || target.routingKey}/wait/${ttl}`
    const known = this.#declared.get(name)
    if (known !== undefined && performance.now() - known.at < declarationFreshMs) {
      await known.done
      return name
    }
    const done = this.#link.withChannel(async (channel) => {
      await channel.assertQueue(name, {
        durable: true,
        arguments: {
          'x-queue-type': 'quorum',
          'x-message-ttl': ttl,
          'x-expires': ttl + 2 * declarationFreshMs,
          'x-dead-letter-exchange': target.exchange,
          'x-dead-letter-routing-key': target.routingKey,
          'x-dead-letter-strategy': 'at-least-once',
          'x-overflow': 'reject-publish',
        },
      })
    })
    this.#declared.set(name, { at: performance.now(), done })
    try {
      await done
    } catch (error) {
      this.#declared.delete(name)
      throw error
    }
    return name
  }
}

export function roundUp(delayMs: number): number {
  const least = Math.max(16, Math.ceil(delayMs))
  const step = 2 ** (Math.floor(Math.log2(least)) - 2)
  return Math.ceil(least / step) * step
}
