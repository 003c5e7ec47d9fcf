import { describe, expect, it } from 'vitest'
import { fairMoves, type ShardView } from './share.ts'
import { shardCounts, shardOf, shardPattern, slotName } from './shards.ts'

/** Members at the shards of a group, as the broker has them: who came first works, others wait unseen. */
class Group {
  readonly shards: number[][]
  readonly #asking = new Set<number>()
  readonly #inVain = new Map<string, number>()
  readonly #free = new Map<string, number>()
  members: number[]
  traffic = true

  constructor(shards: number, members: number) {
    this.shards = Array.from({ length: shards }, () => [])
    this.members = Array.from({ length: members }, (_, member) => member)
  }

  look(member: number, random: () => number): void {
    const views = this.shards.map((at, shard): ShardView => {
      const place = at.indexOf(member)
      const name = `${member} ${shard}`
      this.#inVain.set(name, place > 0 && this.traffic ? (this.#inVain.get(name) ?? 0) + 1 : 0)
      this.#free.set(name, at.length === 0 ? (this.#free.get(name) ?? 0) + 1 : 0)
      const mine = place < 0 ? 'no' : place === 0 && this.traffic ? 'working' : 'there'
      return { shard, free: this.#free.get(name) ?? 0, mine, inVain: this.#inVain.get(name) ?? 0 }
    })
    const asking = [...this.#asking].filter((other) => other !== member).length
    const { join, leave, ask } = fairMoves(views, this.members.length, asking, random)
    for (const shard of leave) this.#quit(shard, member)
    for (const shard of join) this.shards[shard]?.push(member)
    if (ask) this.#asking.add(member)
    else this.#asking.delete(member)
  }

  /** Two see the same and go for the same. */
  meet(shard: number, member: number): void {
    if (!this.shards[shard]?.includes(member)) this.shards[shard]?.push(member)
  }

  die(member: number): void {
    this.members = this.members.filter((other) => other !== member)
    this.#asking.delete(member)
    for (const shard of this.shards.keys()) this.#quit(shard, member)
  }

  get unfair(): boolean {
    const share = this.shards.length / this.members.length
    const shares = this.members.map((member) => this.shards.filter(([worker]) => worker === member).length)
    return shares.some((count) => count < Math.floor(share) || count > Math.ceil(share)) || this.shards.some(({ length }) => length !== 1)
  }

  #quit(shard: number, member: number): void {
    const at = this.shards[shard]
    if (at?.includes(member)) at.splice(at.indexOf(member), 1)
  }
}

function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

describe('members that share shards', () => {
  it('come to a fair share within a few looks, wherever they begin, and stay there', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const random = seeded(seed)
      const group = new Group(shardCounts[Math.floor(random() * shardCounts.length)] as number, 1 + Math.floor(random() * 9))
      const round = (): void => {
        for (const member of group.members.toSorted(() => random() - 0.5)) group.look(member, random)
      }
      for (const change of ['start', 'one dies', 'two come', 'two meet'] as const) {
        if (change === 'one dies' && group.members.length > 1) group.die(0)
        if (change === 'two come') group.members.push(100, 101)
        if (change === 'two meet') for (const shard of group.shards.keys()) group.meet(shard, 100 + (shard % 2))
        let rounds = 0
        for (; rounds < 20 && group.unfair; rounds += 1) round()
        expect({ seed, change, unfair: group.unfair }).toEqual({ seed, change, unfair: false })
        const settled = JSON.stringify(group.shards)
        for (let n = 0; n < 5; n += 1) round()
        expect({ seed, change, shards: JSON.stringify(group.shards) }).toEqual({ seed, change, shards: settled })
      }
    }
  })
})

describe('members of a group without messages', () => {
  it('leave no shard alone for long, although nobody sees who is second', () => {
    for (let seed = 1; seed <= 25; seed += 1) {
      const random = seeded(seed)
      const group = new Group(8, 2 + Math.floor(random() * 4))
      group.traffic = false
      // Everybody has its share, and some shards have nobody.
      for (const member of group.members) for (let n = 0; n < 8 / group.members.length; n += 1) group.meet(n, member)
      const alone = group.shards.map(() => 0)
      for (let round = 0; round < 60; round += 1) {
        for (const member of group.members.toSorted(() => random() - 0.5)) group.look(member, random)
        for (const [shard, at] of group.shards.entries()) alone[shard] = at.length === 0 ? (alone[shard] ?? 0) + 1 : 0
        expect({ seed, round, longest: Math.max(...alone.map((rounds) => (rounds > 12 ? rounds : 0))) }).toEqual({
          seed,
          round,
          longest: 0,
        })
      }
    }
  })
})

describe('keys and shards', () => {
  it('puts a key where the broker puts its routing key', () => {
    for (const shards of shardCounts) {
      for (let n = 0; n < 200; n += 1) {
        const key = `film-${n}`
        const pattern = shardPattern(shardOf(key, shards), shards)
        expect(`${slotName(key)}.`.startsWith(pattern.replace('#', ''))).toBe(true)
      }
    }
  })

  it('spreads keys evenly', () => {
    const counts = Array.from({ length: 8 }, () => 0)
    for (let n = 0; n < 8_000; n += 1) counts[shardOf(`customer-${n}`, 8)]! += 1
    expect(Math.min(...counts)).toBeGreaterThan(850)
    expect(Math.max(...counts)).toBeLessThan(1_150)
  })

  it('keeps every key where it was in earlier versions', () => {
    expect(['a', 'film-7', 'Amélie 🎬'].map(slotName)).toEqual(['0.0.0.1.1.0', '1.0.0.1.0.1', '0.0.0.0.0.1'])
  })
})
