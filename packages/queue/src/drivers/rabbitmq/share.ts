/** What a member sees of a shard. The broker tells whether somebody is at work there, not how many wait behind him. */
export interface ShardView {
  readonly shard: number
  /** Looks in a row at which nobody was there; 0 when somebody is. */
  readonly free: number
  /** `working`: it has got messages there. `there`: it has not, and somebody else may have come first. */
  readonly mine: 'no' | 'there' | 'working'
  /** Looks in a row at which messages waited there and this member, which is there, got none: somebody else was first. */
  readonly inVain: number
}

export interface Moves {
  readonly join: readonly number[]
  readonly leave: readonly number[]
  /** It has less than its share and finds nothing free: others are to hear of it. */
  readonly ask: boolean
}

const patience = 2

/**
 * How members share shards without talking to each other: each looks at the same counts and keeps to its fair share, the whole part of shards
 * by members, or one more.
 *
 * - Who has more than the share leaves what is above it. Who has one more than the whole part leaves it, every other time, while somebody asks.
 * - What nobody has is joined: by those who ask up to the whole part, by the others only while nobody asks.
 * - What nobody has for longer is joined by whoever sees it: members that believe to have their share may be second somewhere, unseen.
 * - Who came second to a shard leaves it, and who leaves one leaves such a one first.
 */
export function fairMoves(shards: readonly ShardView[], members: number, asking: number, random: () => number = Math.random): Moves {
  const least = Math.floor(shards.length / Math.max(1, members))
  const most = Math.ceil(shards.length / Math.max(1, members))
  const mine = shards.filter((view) => view.mine !== 'no')
  const second = mine.filter(({ inVain }) => inVain >= patience)
  const kept = mine
    .filter(({ inVain }) => inVain < patience)
    .toSorted((a, b) => Number(b.mine === 'working') - Number(a.mine === 'working'))
  const surplus = Math.max(0, kept.length - most)
  const given = surplus === 0 && kept.length > least && asking > 0 && random() < 0.5 ? 1 : surplus
  const left = kept.length - given
  const wanted = left < least ? least - left : asking > 0 || given > 0 ? 0 : most - left
  const free = shards.filter((view) => view.free > 0 && view.mine === 'no').map((view) => ({ ...view, at: random() }))
  const forgotten = free.some((view) => view.free > patience) ? 1 : 0
  // Those that are free for longest, of these any: not all members go for the same.
  const join = free.toSorted((a, b) => b.free - a.free || a.at - b.at).slice(0, Math.max(wanted, forgotten))
  return {
    join: join.map(({ shard }) => shard),
    leave: [...second, ...kept.slice(left)].map(({ shard }) => shard),
    ask: left + join.length < least,
  }
}
