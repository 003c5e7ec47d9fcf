import { groupName } from './names.ts'

/** The words of a routing key that says where a key belongs; so 64 shards at most. */
const words = 6

/** How many shards an ordered group may have: a shard is the keys whose slots begin with the same words. */
export const shardCounts: readonly number[] = Array.from({ length: words + 1 }, (_, power) => 2 ** power)

const slotNames: readonly string[] = Array.from({ length: 2 ** words }, (_, slot) => bitsOf(slot, words))

/** The routing key of everything that is published with this key: the same in every process and every version, since order rests on it. */
export function slotName(key: string): string {
  return slotNames[slotOf(key)] as string
}

export function shardOf(key: string, shards: number): number {
  return slotOf(key) >>> (words - Math.log2(shards))
}

/** The binding of a shard to the topic exchange of its group. */
export function shardPattern(shard: number, shards: number): string {
  return shards === 1 ? '#' : `${bitsOf(shard, Math.log2(shards))}.#`
}

/** A group of one shard has the queue of its own name. */
export function shardQueue(destination: string, group: string, shards: number, shard: number): string {
  const name = groupName(destination, group)
  return shards === 1 ? name : `${name}/${shards}/${shard}`
}

export function shardQueues(destination: string, group: string, shards: number): string[] {
  return Array.from({ length: shards }, (_, shard) => shardQueue(destination, group, shards, shard))
}

/** FNV-1a with the finish of MurmurHash3, whose upper bits are as good as the lower ones. */
function slotOf(key: string): number {
  let hash = 0x81_1c_9d_c5
  for (let at = 0; at < key.length; at += 1) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01_00_01_93)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85_eb_ca_6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2_b2_ae_35)
  return (hash ^ (hash >>> 16)) >>> (32 - words)
}

function bitsOf(value: number, count: number): string {
  return value.toString(2).padStart(count, '0').split('').join('.')
}
