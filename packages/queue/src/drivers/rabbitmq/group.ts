import type { Channel } from 'amqplib'
import { refuseDeletion } from '../../group-deletion.ts'
import type { Link } from './link.ts'
import {
  askingQueue,
  deadQueue,
  expiryQueue,
  groupName,
  keyLog,
  layoutName,
  membersQueue,
  parkedQueue,
  strayName,
  trialQueue,
} from './names.ts'
import { shardCounts, shardQueues } from './shards.ts'
import { orMissing, queueCounts } from './topology.ts'

/** In how many shards an ordered group is laid out; two numbers while it is being changed, none for a group without order. */
export async function layoutsOf(link: Link, destination: string, group: string, signal?: AbortSignal): Promise<number[]> {
  const found = await Promise.all(
    shardCounts.map(async (shards) => {
      const name = layoutName(destination, group, shards)
      return (await orMissing(link.withChannel((channel) => channel.checkExchange(name), signal))) === undefined ? [] : [shards]
    }),
  )
  return found.flat()
}

/** What lies in queues and who works on them. */
export async function countsOf(
  link: Link,
  queues: readonly string[],
  signal?: AbortSignal,
): Promise<{ messages: number; members: number }> {
  const counts = await Promise.all(queues.map((queue) => queueCounts(link, queue, signal)))
  return {
    messages: counts.reduce((sum, count) => sum + (count?.messages ?? 0), 0),
    members: counts.reduce((most, count) => Math.max(most, count?.consumers ?? 0), 0),
  }
}

export async function deleteLayout(channel: Channel, destination: string, group: string, shards: number): Promise<void> {
  for (const queue of shardQueues(destination, group, shards)) {
    for (const name of [queue, parkedQueue(queue), keyLog(queue)]) await channel.deleteQueue(name)
  }
  await channel.deleteExchange(strayName(destination, group, shards))
  await channel.deleteExchange(layoutName(destination, group, shards))
}

/** What a group has, and its members; `undefined` when there is none. */
export async function seeGroup(
  link: Link,
  destination: string,
  group: string,
  signal: AbortSignal,
): Promise<{ layouts: number[]; messages: number; members: number } | undefined> {
  const name = groupName(destination, group)
  const layouts = await layoutsOf(link, destination, group, signal)
  const shards = layouts.flatMap((each) => shardQueues(destination, group, each))
  if (shards.length === 0 && (await queueCounts(link, name, signal)) === undefined) return undefined
  const all = [
    name,
    membersQueue(destination, group),
    ...shards,
    ...shards.map(parkedQueue),
    trialQueue(name),
    deadQueue(destination, group),
  ]
  return { layouts, ...(await countsOf(link, all, signal)) }
}

export async function removeGroup(
  link: Link,
  destination: string,
  group: string,
  { layouts, signal }: { layouts: readonly number[]; signal: AbortSignal },
): Promise<void> {
  const name = groupName(destination, group)
  await link.withChannel(async (channel) => {
    await channel.deleteExchange(name)
    const beside = [deadQueue, membersQueue, askingQueue].map((of) => of(destination, group))
    for (const queue of [trialQueue(name), ...beside]) await channel.deleteQueue(queue)
    // At last what a group is found by: a removal that is broken off can be called again.
    for (const each of layouts) await deleteLayout(channel, destination, group, each)
    for (const queue of [name, expiryQueue(destination, group)]) await channel.deleteQueue(queue)
  }, signal)
}

export async function deleteGroup(
  link: Link,
  destination: string,
  group: string,
  { signal, discard }: { signal: AbortSignal; discard: boolean },
): Promise<boolean> {
  const seen = await seeGroup(link, destination, group, signal)
  if (seen === undefined) return false
  refuseDeletion(destination, group, { ...seen, discard })
  await removeGroup(link, destination, group, { layouts: seen.layouts, signal })
  return true
}
