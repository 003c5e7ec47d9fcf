import { tagBytes } from './drivers/estimate.ts'
import type { TagRecord } from './entry.ts'

/** Something that read its source before now and will store later: a load in flight, a look-up in l2, a write on its way. */
export interface Pending {
  readonly key: string
  /** Position of the invalidation log when it began. */
  readonly start: number
  /** An invalidation reached the key or the namespace meanwhile: the result goes to its callers and nowhere else. */
  voided: boolean
  /** Others of the key. */
  older: Pending | undefined
  newer: Pending | undefined
}

const maxUnreferenced = 10_000
const none: readonly TagRecord[] = []
/**
 * The order of invalidations in this process. Every invalidation takes the next position; whoever wants to store a value compares
 * the position at which it began to read. Memory is kept only for tags that an entry carries or that changed while something is pending.
 */
export class Generations {
  position = 0
  epoch = 0
  readonly #tags = new Map<string, TagRecord>()
  readonly #unreferenced = new Set<TagRecord>()
  /** The newest of each key. */
  readonly #pending = new Map<string, Pending>()
  #pendingCount = 0
  #bytes = 0
  /** Changes of tags up to here may have been forgotten: they count as changed for everything that began before. */
  #floor = 0

  /** Estimated heap of the tags' records. */
  get bytes(): number {
    return this.#bytes
  }

  begin(key: string): Pending {
    const older = this.#pending.get(key)
    const pending: Pending = { key, start: this.position, voided: false, older, newer: undefined }
    if (older) older.newer = pending
    this.#pending.set(key, pending)
    this.#pendingCount++
    return pending
  }

  /** Once for each. */
  end({ key, older, newer }: Pending): void {
    if (older) older.newer = newer
    if (newer) newer.older = older
    else if (older) this.#pending.set(key, older)
    else this.#pending.delete(key)
    if (--this.#pendingCount === 0) this.#forget()
  }

  voidKey(key: string): void {
    this.position++
    for (let pending = this.#pending.get(key); pending; pending = pending.older) pending.voided = true
  }

  voidTag(name: string): void {
    this.position++
    let record = this.#tags.get(name)
    if (!record) {
      if (this.#pendingCount === 0) return
      record = this.#record(name)
      this.#unreferenced.add(record)
    }
    record.changedAt = this.position
    if (this.#unreferenced.size > maxUnreferenced) {
      this.#floor = this.position
      this.#forget()
    }
  }

  /** Also starts a new epoch. */
  voidAll(): void {
    this.position++
    this.epoch++
    for (const newest of this.#pending.values())
      for (let pending: Pending | undefined = newest; pending; pending = pending.older) pending.voided = true
  }

  /** May what began at `pending.start` and carries these tags still be stored? */
  holds(pending: Pending, tags: Iterable<string>): boolean {
    if (pending.voided) return false
    for (const tag of tags) {
      if (pending.start < this.#floor || (this.#tags.get(tag)?.changedAt ?? 0) > pending.start) return false
    }
    return true
  }

  retain(tags: readonly string[]): readonly TagRecord[] {
    if (tags.length === 0) return none
    return tags.map((name) => {
      let record = this.#tags.get(name)
      if (!record) record = this.#record(name)
      else if (record.refs === 0) this.#unreferenced.delete(record)
      record.refs++
      return record
    })
  }

  release(records: readonly TagRecord[]): void {
    for (const record of records) {
      if (--record.refs > 0) continue
      if (this.#pendingCount > 0 && record.changedAt > 0) this.#unreferenced.add(record)
      else this.#drop(record)
    }
  }

  #forget(): void {
    for (const record of this.#unreferenced) this.#drop(record)
    this.#unreferenced.clear()
  }

  #record(name: string): TagRecord {
    const record = { name, changedAt: 0, refs: 0 }
    this.#tags.set(name, record)
    this.#bytes += tagBytes(name)
    return record
  }

  #drop(record: TagRecord): void {
    if (this.#tags.delete(record.name)) this.#bytes -= tagBytes(record.name)
  }
}
