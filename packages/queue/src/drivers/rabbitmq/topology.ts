import type { Channel, Options } from 'amqplib'
import type { Subscription } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { refuseDeletion } from '../../group-deletion.ts'
import { replyCode } from './faults.ts'
import type { Link } from './link.ts'

/** How long a broadcast queue outlives its process: so long a disconnected process still gets what it missed. */
const broadcastIdleMs = 60_000
const noLimit = 1_000_000_000

export const exchangeName = (destination: string): string => `platform/${destination}`
export const queueName = (destination: string, group: string): string => `platform/${destination}/${group}`
export const deadQueue = (queue: string): string => `${queue}/dead`
export const trialQueue = (queue: string): string => `${queue}/trial`
export const parkedQueue = (queue: string): string => `${queue}/parked`
export const keyLog = (queue: string): string => `${queue}/keys`
/** Exists once a group has subscribed; never consumed. */
export const markerQueue = (destination: string): string => `platform/${destination}/`
/** Where what has waited comes back: routing keys are names of queues, or of the exchanges of destinations. */
export const returnExchange = 'platform/return'
/** Takes what waited for a group that is gone meanwhile, so that it does not block the others that wait. */
const lost = 'platform/lost'

interface DeclaredQueue {
  readonly name: string
  readonly options: Options.AssertQueue
  readonly bindings?: readonly { readonly exchange: string; readonly routingKey: string }[]
}

/** Looking hands every message back, which counts as a delivery; 4.0 and later would drop it after 20. */
const store = { 'x-queue-type': 'quorum', 'x-delivery-limit': noLimit }

/** All that a subscription needs, durable, so that the broker keeps for the group what is published from then on. The last one is its own queue. */
export function queuesOf({ destination, group, ordered, broadcast }: Subscription): DeclaredQueue[] {
  const name = queueName(destination, group)
  const bindings = [
    { exchange: exchangeName(destination), routingKey: '' },
    { exchange: returnExchange, routingKey: name },
  ]
  if (broadcast) {
    return [{ name, options: { durable: true, arguments: { 'x-queue-type': 'classic', 'x-expires': broadcastIdleMs } }, bindings }]
  }
  const own = {
    'x-queue-type': 'quorum',
    // The core judges attempts, and connections that flap must bury nothing.
    'x-delivery-limit': noLimit,
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': deadQueue(name),
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
    ...(ordered ? { 'x-single-active-consumer': true } : {}),
  }
  return [
    { name: deadQueue(name), options: { durable: true, arguments: store } },
    ...(ordered
      ? [
          { name: parkedQueue(name), options: { durable: true, arguments: store } },
          { name: keyLog(name), options: { durable: true, arguments: { 'x-queue-type': 'stream' } } },
        ]
      : [{ name: trialQueue(name), options: { durable: true, arguments: store } }]),
    { name: markerQueue(destination), options: { durable: true, arguments: { 'x-queue-type': 'quorum' } } },
    { name, options: { durable: true, arguments: own }, bindings },
  ]
}

/** Declares what is missing. */
export async function declareSubscription(link: Link, subscription: Subscription, signal?: AbortSignal): Promise<string> {
  const { destination, group } = subscription
  let at = ''
  try {
    await link.withChannel(async (channel) => {
      await declareExchange(channel, destination)
      for (const { name, options, bindings = [] } of queuesOf(subscription)) {
        at = name
        await channel.assertQueue(name, options)
        for (const { exchange, routingKey } of bindings) await channel.bindQueue(name, exchange, routingKey)
      }
    }, signal)
  } catch (error) {
    if (replyCode(error) !== 406) throw error
    throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group}, queue ${at}: ${conflictOf(error)}`, cause: error })
  }
  return queueName(destination, group)
}

/** The broker's text names the argument and both values. */
export function conflictOf(error: unknown): string {
  const text = error instanceof Error ? error.message : ''
  const found = /inequivalent arg '([^']*)'.*?: received (.*?) but current is (.*?)"?$/.exec(text)
  return found === null ? 'it was declared otherwise' : `${found[1]} should be ${found[2]}, is ${found[3]}`
}

export async function declareExchange(channel: Channel, destination: string): Promise<void> {
  await channel.assertExchange(lost, 'fanout', { durable: true })
  await channel.assertQueue(lost, {
    durable: true,
    arguments: { 'x-queue-type': 'quorum', 'x-max-length': 10_000, 'x-overflow': 'drop-head' },
  })
  await channel.bindQueue(lost, lost, '')
  await channel.assertExchange(returnExchange, 'direct', { durable: true, alternateExchange: lost })
  await channel.assertExchange(exchangeName(destination), 'fanout', { durable: true })
  await channel.bindExchange(exchangeName(destination), returnExchange, exchangeName(destination))
}

/** Whether a group has ever subscribed. */
export async function hasGroup(link: Link, destination: string, signal: AbortSignal): Promise<boolean> {
  return (await queueCounts(link, markerQueue(destination), signal)) !== undefined
}

/** `undefined` when there is no such queue. */
export async function queueCounts(
  link: Link,
  queue: string,
  signal: AbortSignal | undefined,
): Promise<{ messages: number; consumers: number } | undefined> {
  try {
    return await link.withChannel(async (channel) => {
      const { messageCount, consumerCount } = await channel.checkQueue(queue)
      return { messages: messageCount, consumers: consumerCount }
    }, signal)
  } catch (error) {
    if (replyCode(error) === 404) return undefined
    throw error
  }
}

export async function deleteGroup(
  link: Link,
  destination: string,
  group: string,
  { signal, discard }: { signal: AbortSignal; discard: boolean },
): Promise<boolean> {
  const queue = queueName(destination, group)
  const counts = await queueCounts(link, queue, signal)
  if (counts === undefined) return false
  const stores = [deadQueue(queue), trialQueue(queue), parkedQueue(queue)]
  let messages = counts.messages
  for (const store of stores) messages += (await queueCounts(link, store, signal))?.messages ?? 0
  refuseDeletion(destination, group, { members: counts.consumers, messages, discard })
  await link.withChannel(async (channel) => {
    // First the queue that gets what is published: nothing new arrives in the others then.
    for (const name of [queue, ...stores, keyLog(queue)]) await channel.deleteQueue(name)
  }, signal)
  return true
}
