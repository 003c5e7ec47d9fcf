/** A tag as this process knows it: one record is shared by all entries that carry the tag. */
export interface TagRecord {
  readonly name: string
  /** Position of the latest invalidation; 0 when none is known. */
  changedAt: number
  /** How many entries of l1 carry it. */
  refs: number
}

/** What l1 holds. All times are `performance.now()` of this process. */
export interface LocalEntry {
  readonly value: unknown
  readonly freshUntil: number
  /** From here on, and until it is stale, one request refreshes it behind. */
  refreshAt: number
  /** Until here the entry may be served while a refresh runs behind. */
  readonly revalidateUntil: number
  /** Until here the entry may be served when the factory fails. */
  readonly errorUntil: number
  /** Position of the invalidation log before the value was read at its source. */
  readonly position: number
  /** Coherence epoch it was read in: another epoch means that an invalidation may have been missed since. */
  readonly epoch: number
  readonly tags: readonly TagRecord[]
  /** l2 holds it as well, so what l2 says of it counts more. */
  readonly shared: boolean
  /** After a failed refresh: no new attempt before. */
  readonly retryAt: number
}

/** `fallback`: only good for standing in when the factory fails. */
export type Freshness = 'fresh' | 'stale' | 'fallback' | 'expired'

export function tagsUnchanged(entry: LocalEntry): boolean {
  const { tags, position } = entry
  for (let index = 0; index < tags.length; index++) if ((tags[index] as TagRecord).changedAt > position) return false
  return true
}

/** Pure decision; a changed tag voids the stale copy as well. */
export function freshness(entry: LocalEntry, epoch: number, now: number): Freshness {
  if (!tagsUnchanged(entry)) return 'expired'
  if (entry.epoch === epoch) {
    if (now < entry.freshUntil) return 'fresh'
    if (now < entry.revalidateUntil) return 'stale'
  }
  return now < entry.errorUntil ? 'fallback' : 'expired'
}
