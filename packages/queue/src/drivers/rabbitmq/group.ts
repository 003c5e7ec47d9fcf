import type { Channel } from 'amqplib'
import { refuseDeletion } from '../../group-deletion.ts'
import type { Link } from './link.ts'
import { askingQueue, deadQueue, groupName, keyLog, layoutName, membersQueue, parkedQueue, strayName, trialQueue } from './names.ts'
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
  await channel.deleteExchange(layoutName(destination, group, shards))
  await channel.deleteExchange(strayName(destination, group, shards))
  for (const queue of shardQueues(destination, group, shards)) {
    for (const name of [queue, parkedQueue(queue), keyLog(queue)]) await channel.deleteQueue(name)
  }
}

export async function deleteGroup(
  link: Link,
  destination: string,
  group: string,
  { signal, discard }: { signal: AbortSignal; discard: boolean },
): Promise<boolean> {
  const name = groupName(destination, group)
  const layouts = await layoutsOf(link, destination, group, signal)
  const shards = layouts.flatMap((each) => shardQueues(destination, group, each))
  if (shards.length === 0 && (await queueCounts(link, name, signal)) === undefined) return false
  const dead = deadQueue(destination, group)
  const members = membersQueue(destination, group)
  const counts = await countsOf(link, [name, members, ...shards, ...shards.map(parkedQueue), trialQueue(name), dead], signal)
  refuseDeletion(destination, group, { ...counts, discard })
  await link.withChannel(async (channel) => {
    // First what gets what is published: nothing new arrives in the others then.
    await channel.deleteExchange(name)
    for (const each of layouts) await deleteLayout(channel, destination, group, each)
    for (const queue of [name, trialQueue(name), dead, members, askingQueue(destination, group)]) await channel.deleteQueue(queue)
  }, signal)
  return true
}
