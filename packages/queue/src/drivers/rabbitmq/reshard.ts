import { QueueError } from '../../errors.ts'
import { countsOf, deleteLayout, layoutsOf } from './group.ts'
import type { Link } from './link.ts'
import { exchangeName, groupName, layoutName, parkedQueue } from './names.ts'
import { shardQueues } from './shards.ts'
import { declare, exchangeOptions, layoutTopology, orMissing, type Shape } from './topology.ts'

/**
 * Another number of shards for an ordered group, without a message lost, doubled or reordered. Called again until it is done:
 *
 * 1. The new shards are made, and one new binding sends everything that is published from then on to them; nobody works there yet, since
 *    the group's definition still names the old number.
 * 2. While the old shards hold something or somebody, that is ERR_QUEUE_CONFLICT: their members work on, keys that are parked have to be freed.
 * 3. The definition is replaced and the old shards are deleted: members with the new number begin.
 *
 * Resolves to the old number, to none when there is nothing to change.
 */
export async function reshard(link: Link, shape: Shape, signal: AbortSignal): Promise<number[]> {
  const { destination, group, shards } = shape
  const name = groupName(destination, group)
  const layout = layoutName(destination, group, shards)
  const conflict = (detail: string): QueueError => new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group} ${detail}` })
  const old = (await layoutsOf(link, destination, group, signal)).filter((each) => each !== shards)
  if (old.length === 0) return old
  const defined = (await orMissing(link.withChannel((channel) => channel.checkExchange(name), signal))) !== undefined
  await link.withChannel(async (channel) => {
    await declare(channel, layoutTopology(shape))
    // An exchange without bindings hands on to its alternate, the old layout; with this one it does not.
    if (defined) await channel.bindExchange(layout, name, '')
    // What an earlier version bound by itself.
    if (old.includes(1)) await channel.unbindQueue(name, exchangeName(destination), '')
  }, signal)

  const queues = old.flatMap((each) => shardQueues(destination, group, each))
  const { messages, members } = await countsOf(link, [...queues, ...queues.map(parkedQueue)], signal)
  if (members > 0) {
    throw conflict(
      `has ${members} members with the old shards, which hold ${messages} messages: stop them when these are handled, and call again`,
    )
  }
  if (messages > 0) {
    throw conflict(
      `has ${messages} messages in its old shards: let members with the old number handle them, free parked keys, and call again`,
    )
  }
  await link.withChannel(async (channel) => {
    // A queue gets a message once, however many ways lead to it; so there is a way at every moment.
    await channel.bindExchange(layout, exchangeName(destination), '')
    await channel.deleteExchange(name)
    await channel.assertExchange(name, 'fanout', exchangeOptions(layout))
    await channel.bindExchange(name, exchangeName(destination), '')
    await channel.unbindExchange(layout, exchangeName(destination), '')
    for (const each of old) await deleteLayout(channel, destination, group, each)
  }, signal)
  return old
}
