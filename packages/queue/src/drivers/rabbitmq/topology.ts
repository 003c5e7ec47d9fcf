import type { Channel, Options } from 'amqplib'
import type { Subscription } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { replyCode } from './faults.ts'
import type { Link } from './link.ts'
import {
  askingQueue,
  deadQueue,
  exchangeName,
  expiryLooks,
  expiryQueue,
  groupName,
  keyLog,
  layoutName,
  lostName,
  markerQueue,
  membersQueue,
  parkedQueue,
  returnExchange,
  strayName,
  trialQueue,
} from './names.ts'
import { shardPattern, shardQueues } from './shards.ts'

/** How long a broadcast queue outlives its process: so long a disconnected process still gets what it missed. */
const broadcastIdleMs = 60_000
const noLimit = 1_000_000_000

/** The kind of group, as far as its topology is concerned. */
export type Shape = Pick<Subscription, 'destination' | 'group' | 'broadcast' | 'ordered' | 'shards'>

export interface Binding {
  readonly from: string
  readonly key: string
}

export interface DeclaredExchange {
  readonly name: string
  readonly type: 'fanout' | 'direct' | 'topic'
  /** Gets what no binding of this one takes. */
  readonly alternate?: string
  readonly bindings?: readonly Binding[]
}

export interface DeclaredQueue {
  readonly name: string
  readonly options: Options.AssertQueue
  readonly bindings?: readonly Binding[]
}

export interface Topology {
  readonly exchanges: readonly DeclaredExchange[]
  readonly queues: readonly DeclaredQueue[]
}

/** Looking hands every message back, which counts as a delivery; 4.0 and later would drop it after 20. */
const store = durable({ 'x-queue-type': 'quorum', 'x-delivery-limit': noLimit })

/** Where every process hears that a group is to be looked at. */
export const expiryLooksTopology: DeclaredQueue = { name: expiryLooks, options: store }

/** What a publisher needs. */
export function destinationTopology(destination: string): Topology {
  const name = exchangeName(destination)
  return {
    exchanges: [
      { name: lostName, type: 'fanout' },
      { name: returnExchange, type: 'direct', alternate: lostName },
      { name, type: 'fanout', bindings: [{ from: returnExchange, key: name }] },
    ],
    queues: [
      {
        name: lostName,
        options: durable({ 'x-queue-type': 'quorum', 'x-max-length': 10_000, 'x-overflow': 'drop-head' }),
        bindings: [{ from: lostName, key: '' }],
      },
      expiryLooksTopology,
    ],
  }
}

/**
 * All that a subscription needs beside that, durable, so that the broker keeps for the group what is published from then on.
 *
 * An exchange of the group's name says by its alternate exchange what kind of group it is, so that the broker itself refuses a member that
 * differs. That of an ordered group has no binding, and so hands everything on to the exchange of its layout, which shares it out by key.
 */
export function groupTopology(shape: Shape): Topology {
  const { destination, group, broadcast, ordered } = shape
  const name = groupName(destination, group)
  const source: Binding = { from: exchangeName(destination), key: '' }
  if (broadcast) {
    const options = durable({ 'x-queue-type': 'classic', 'x-expires': broadcastIdleMs })
    return { exchanges: [], queues: [{ name, options, bindings: [source, back(name)] }] }
  }
  const common: DeclaredQueue[] = [
    { name: deadQueue(destination, group), options: store },
    { name: markerQueue(destination), options: durable({ 'x-queue-type': 'quorum' }) },
  ]
  if (!ordered) {
    return {
      exchanges: [{ name, type: 'fanout', alternate: `${name}/plain` }],
      queues: [
        ...common,
        { name: trialQueue(name), options: store },
        { name, options: work(shape, false), bindings: [source, back(name)] },
      ],
    }
  }
  const layout = layoutTopology(shape)
  return {
    exchanges: [{ name, type: 'fanout', alternate: layoutName(destination, group, shape.shards), bindings: [source] }, ...layout.exchanges],
    queues: [...common, ...layout.queues],
  }
}

/** A note about the group waits there, and is looked at when its time is over. */
export function expiryTopology(destination: string, group: string): DeclaredQueue {
  const args = {
    'x-queue-type': 'quorum',
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': expiryLooks,
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
  }
  return { name: expiryQueue(destination, group), options: durable(args) }
}

/** The shards of an ordered group, and what shares keys out over them. */
export function layoutTopology(shape: Shape): Topology {
  const { destination, group, shards } = shape
  const layout = layoutName(destination, group, shards)
  const strays = strayName(destination, group, shards)
  const queues = shardQueues(destination, group, shards).flatMap((name, shard): DeclaredQueue[] => [
    { name: parkedQueue(name), options: store },
    { name: keyLog(name), options: durable({ 'x-queue-type': 'stream' }) },
    {
      name,
      options: work(shape, true),
      bindings: [{ from: layout, key: shardPattern(shard, shards) }, back(name), ...(shard === 0 ? [{ from: strays, key: '' }] : [])],
    },
  ])
  return {
    exchanges: [
      { name: strays, type: 'fanout' },
      { name: layout, type: 'topic', alternate: strays },
    ],
    queues: shards === 1 ? queues : [...[membersQueue, askingQueue].map((name) => presence(name(destination, group))), ...queues],
  }
}

/** Declares what is missing. */
export async function declareSubscription(link: Link, shape: Shape, signal?: AbortSignal): Promise<void> {
  const { destination, group } = shape
  const at = { name: '' }
  try {
    await link.withChannel(async (channel) => {
      await declare(channel, destinationTopology(destination), at)
      await declare(channel, groupTopology(shape), at)
    }, signal)
  } catch (error) {
    if (replyCode(error) !== 406) throw error
    const what = at.name === groupName(destination, group) ? at.name : `queue ${at.name}`
    throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group}, ${what}: ${conflictOf(error)}`, cause: error })
  }
}

/** `at` says afterwards what the broker refused. Exchanges get messages last, when everything that they are handed on to is there. */
export async function declare(channel: Channel, { exchanges, queues }: Topology, at: { name: string } = { name: '' }): Promise<void> {
  for (const { name, type, alternate } of exchanges) {
    at.name = name
    await channel.assertExchange(name, type, exchangeOptions(alternate))
  }
  for (const { name, options, bindings = [] } of queues) {
    at.name = name
    await channel.assertQueue(name, options)
    for (const { from, key } of bindings) await channel.bindQueue(name, from, key)
  }
  for (const { name, bindings = [] } of exchanges) for (const { from, key } of bindings) await channel.bindExchange(name, from, key)
}

export function exchangeOptions(alternate: string | undefined): Options.AssertExchange {
  return { durable: true, ...(alternate === undefined ? {} : { alternateExchange: alternate }) }
}

/** The broker's text names the argument and both values. */
export function conflictOf(error: unknown): string {
  const text = error instanceof Error ? error.message : ''
  const found = /inequivalent arg '([^']*)'.*?: received (.*?) but current is (.*?)"?$/.exec(text)
  return found === null ? 'it was declared otherwise' : `${found[1]} should be ${found[2]}, is ${found[3]}`
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
  const counts = await orMissing(link.withChannel((channel) => channel.checkQueue(queue), signal))
  return counts === undefined ? undefined : { messages: counts.messageCount, consumers: counts.consumerCount }
}

/** `undefined` when the broker says that it is not there. */
export async function orMissing<T>(question: Promise<T>): Promise<T | undefined> {
  try {
    return await question
  } catch (error) {
    if (replyCode(error) === 404) return undefined
    throw error
  }
}

function durable(args: object): Options.AssertQueue {
  return { durable: true, arguments: args }
}

/** Gets no messages: its consumers are counted. */
function presence(name: string): DeclaredQueue {
  return { name, options: durable({ 'x-queue-type': 'quorum' }), bindings: [] }
}

/** What waited comes back by the queue's name. */
function back(name: string): Binding {
  return { from: returnExchange, key: name }
}

function work({ destination, group }: Shape, oneAtATime: boolean): Options.AssertQueue {
  return durable({
    'x-queue-type': 'quorum',
    // The core judges attempts, and connections that flap must bury nothing.
    'x-delivery-limit': noLimit,
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': deadQueue(destination, group),
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
    ...(oneAtATime ? { 'x-single-active-consumer': true } : {}),
  })
}
