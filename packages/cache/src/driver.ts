import type { LocalEntry } from './entry.ts'

/** What `l1` and `l2` take. A driver object belongs to one cache: opening it twice throws. */
export type CacheDriver = LocalDriver | SharedDriver

export interface LocalDriver {
  readonly name: string
  readonly layer: 'local'
  /** Called once by createCache. `onRemove` must be called for every entry that leaves, for whatever reason, exactly once. */
  open(options: { onRemove(entry: LocalEntry): void }): LocalStore
}

/** Memory of this process. Synchronous: a hit must cost less than a microtask. */
export interface LocalStore {
  /** Counts as a use. Returns expired entries too; the core decides. */
  get(key: string): LocalEntry | undefined
  /** False when the entry alone is over the budget; a previous entry of the key is removed in any case. */
  set(key: string, entry: LocalEntry): boolean
  delete(key: string): void
  clear(): void
  stats(): { entries: number; bytes: number; evictions: number }
  /** Stops timers and drops everything. */
  close(): void
}

export interface SharedDriver {
  readonly name: string
  readonly layer: 'shared'
  /** Called once by createCache; connects in the background and never throws for a server that is down. */
  open(options: {
    namespace: string
    /** The serializer's name; entries of another format are absent. */
    format: string
    onError(error: unknown): void
  }): SharedStore
}

export interface SharedLookup {
  readonly key: string
  /** Wanted when there is no fresh entry: the right to fill. */
  readonly lease?: { readonly token: string; readonly leaseMs: number; readonly tags: readonly string[] } | undefined
}

export interface SharedRead {
  /** The serialized value when an entry exists and none of its tags changed, however old it is. */
  readonly body: string | undefined
  /** Remaining time until stale; zero or negative: stale. */
  readonly freshMs: number
  /** Remaining time until the store forgets it. */
  readonly retainMs: number
  readonly tags: readonly string[]
  /** `held`: ours. `taken`: another process loads. `none`: not wanted, or not needed. */
  readonly lease: 'held' | 'taken' | 'none'
  /** Where the invalidation log of the store stood; handed back to `fill`. */
  readonly position: string
}

export interface SharedWrite {
  readonly key: string
  readonly body: string
  readonly freshMs: number
  readonly retainMs: number
  readonly tags: readonly string[]
}

/** A store that several processes share. Each method is one atomic step per key; the store's clock decides. */
export interface SharedStore {
  /** All look-ups in one round trip. */
  read(lookups: readonly SharedLookup[]): Promise<SharedRead[]>
  /** Stores only if the lease still has this token and no tag changed after `position`; gives the lease up either way. False: discarded. */
  fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<boolean>
  /** False when the lease is no longer ours. */
  renew(key: string, token: string, leaseMs: number): Promise<boolean>
  release(key: string, token: string): Promise<void>
  /** Stores unconditionally and voids the lease of whoever loads the key. */
  write(write: SharedWrite): Promise<void>
  /** Keys lose entry and lease; tags get a new version; `all` voids every entry of the namespace. */
  invalidate(what: { readonly keys: readonly string[]; readonly tags: readonly string[]; readonly all: boolean }): Promise<void>
  /** Rejects when the store does not answer. */
  ping(): Promise<void>
  /** Closes only connections that the driver opened. */
  close(): Promise<void>
}
