import type { LocalEntry } from './entry.ts'
import type { Invalidation, Telling } from './invalidation.ts'

/** What `l1` and `l2` take. A driver object belongs to one cache: opening it twice throws. */
export type CacheDriver = LocalDriver | SharedDriver

export interface LocalDriver {
  readonly name: string
  readonly layer: 'local'
  /** Called once by createCache. */
  open(options: {
    /** Must be called for every entry that leaves, for whatever reason, exactly once. */
    onRemove(entry: LocalEntry): void
    /** Estimated bytes that entries share (their tags); part of what the store holds, and less when entries leave. */
    sharedBytes(): number
  }): LocalStore
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
    /** Bodies are bytes instead of text. */
    binary: boolean
    /** The connection failed. */
    onError(error: unknown): void
    /** A key of the store did not hold what it should (another type, a broken envelope) and was repaired. */
    onFault(fault: string): void
  }): SharedStore
}

export interface SharedLookup {
  readonly key: string
  /** What its reader knows of the entry's tags: a hint for a plain look-up, and what a load that is given the lease begins with. */
  readonly tags: readonly string[]
  /** Wanted when there is no fresh entry, or one that is fresh for less than `earlyMs`: the right to fill. Without it nothing is to be decided. */
  readonly lease?:
    | {
        readonly token: string
        readonly leaseMs: number
        readonly earlyMs: number
        /** Whoever asks waits for the lease that another process holds, and can be told by a bus when it ends. */
        readonly awaits: boolean
      }
    | undefined
}

/** What has become of a fill, and whether somebody waits for the end of the lease. */
export interface SharedFill {
  /** False: discarded. */
  readonly stored: boolean
  readonly awaited: boolean
}

export interface SharedRead {
  /** The serialized value when an entry exists and none of its tags changed, however old it is. */
  readonly body: string | Uint8Array | undefined
  /** Remaining time until stale; zero or negative: stale. */
  readonly freshMs: number
  readonly tags: readonly string[]
  /** `held`: ours. `taken`: another process loads. `none`: not wanted, or not needed. */
  readonly lease: 'held' | 'taken' | 'none'
  /** Where the invalidation log of the store stood; handed back to `fill`. */
  readonly position: string
}

export interface SharedWrite {
  readonly key: string
  readonly body: string | Uint8Array
  readonly freshMs: number
  readonly retainMs: number
  readonly tags: readonly string[]
}

/** A store that can publish: all messages of a bus on its server go through it, so that they leave in the order in which it is asked. */
export interface Publisher {
  /** Of whatever stands on one server, the same. */
  readonly server: symbol
  publish(channel: string, payload: string): Promise<void>
}

/**
 * A store that several processes share. Each method is one atomic step per key; the store's clock decides. A method rejects with a CacheError
 * ERR_CACHE_REFUSED when the store answered and will never take this; every other rejection means that it is away for now.
 */
export interface SharedStore {
  /** All look-ups in one round trip. */
  read(lookups: readonly SharedLookup[]): Promise<SharedRead[]>
  /** Stores only if the lease still has this token and no tag changed after `position`; gives the lease up either way. */
  fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<SharedFill>
  /** Lengthens the leases that still have this token. `yielded`: whoever asks next may take them over; `fill` works until someone does. */
  renew(keys: readonly string[], token: string, leaseMs: number, yielded: boolean): Promise<void>
  /** Resolves to the keys of which somebody waits for the end of the lease. */
  release(keys: readonly string[], token: string): Promise<readonly string[]>
  /** Stores unconditionally and voids the lease of whoever loads the key. Resolves to true when it has told the others. */
  write(write: SharedWrite, telling?: Telling): Promise<boolean | void>
  /**
   * Keys lose entry and lease; tags get a new version; `all` voids every entry of the namespace. Must need no memory that the store may lack.
   * Resolves to true when it has told the others.
   */
  invalidate(what: Invalidation, telling?: Telling): Promise<boolean | void>
  /** Only a store that has one is asked to tell. */
  readonly publisher?: Publisher | undefined
  /** Rejects when the store does not answer. */
  ping(): Promise<void>
  /** Closes only connections that the driver opened. */
  close(): Promise<void>
}
