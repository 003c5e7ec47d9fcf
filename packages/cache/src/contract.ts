import type { SchemaLike } from './schema.ts'
import type { TransactionLike } from './intents.ts'

export interface Cancellable {
  /** Who leaves gets its reason at once; what he began goes on for others. */
  signal?: AbortSignal | undefined
}
export interface ReadOptions extends Cancellable {
  /** An entry of l2 that does not fit counts as absent and is removed. Only the verdict counts, not what the schema makes of the value. */
  schema?: SchemaLike | undefined
  /**
   * Tokens of `token()`, of this process or another: the answer was not read before what they stand for was invalidated. One that this process has heard
   * the invalidations of changes nothing. For another one copies in l1 and loads under way are passed by: l2 is asked, or the factory where l2 may not have
   * them either (`get` is then undefined). What is no token counts as one of the last kind, and never throws.
   */
  after?: string | readonly string[] | undefined
}
export interface StoreOptions extends Cancellable {
  /** How long the value is fresh, 1 to ten years. Default: the cache's. */
  ttlMs?: number | undefined
  /** What `deleteByTag` finds it by. Default: none; a factory may name more. */
  tags?: readonly string[] | undefined
  /** Default: the cache's. */
  staleIfErrorMs?: number | undefined
  /** Default: the cache's. */
  staleWhileRevalidateMs?: number | undefined
}
export interface LoadOptions extends StoreOptions, ReadOptions {
  /** Default: the cache's. */
  softTimeoutMs?: number | undefined
  /** Default: the cache's. */
  hardTimeoutMs?: number | undefined
}
export interface FactoryEntry {
  /** Aborts when every caller has gone, at hardTimeoutMs and at close. */
  signal: AbortSignal
  tag(...tags: string[]): void
  /** May be changed until the factory returns; 0 stores nothing. */
  ttlMs: number
  /** The value goes to the callers and is not stored. */
  skip(): void
  /**
   * The value that was there before, stale by now but not invalidated, where the cache keeps one (staleIfErrorMs, staleWhileRevalidateMs, earlyRefresh);
   * otherwise undefined. For a source that can say that nothing has changed: return it, and it is fresh anew.
   */
  readonly previous: unknown
}
export type Factory<T> = (entry: FactoryEntry) => Promise<T> | T
export type BatchFactory<T> = (
  missing: readonly string[],
  options: {
    signal: AbortSignal
    /** By key, as `previous` of a single factory. */
    previous: ReadonlyMap<string, unknown>
  },
) => Promise<ReadonlyMap<string, T | Error>> | ReadonlyMap<string, T | Error>
export interface CacheStats {
  hits: number
  misses: number
  stale: number
  /** Requests that got an error. */
  errors: number
  /** (hits + stale) of all requests; 0 before the first. */
  hitRate: number
  /** `suspect`: the bus is not confirmed; what that means for l1 says the option `suspect`. */
  coherence: 'coherent' | 'suspect'
  entries: number
  bytes: number
  evictions: number
  /** Invalidations that l2 or the bus has not taken yet. */
  pendingInvalidations: number
  /** Entries of l2 and messages of the bus that could not be what they should, and were repaired or ignored. */
  faults: number
}
export interface CopyExplanation {
  /** `fallback`: only good for standing in when the factory fails. */
  readonly state: 'absent' | 'fresh' | 'stale' | 'fallback' | 'expired'
  /** Until it is stale; negative: since when. */
  readonly freshMs?: number
  readonly tags?: readonly string[]
}
export interface Explanation {
  readonly key: string
  readonly l1: CopyExplanation | 'none'
  readonly l2: CopyExplanation | 'none' | 'unavailable' | 'invalidation pending'
  /** `answered`: a stale copy was served and the load goes on. */
  readonly load: 'none' | 'loading' | 'answered'
  readonly coherence: 'coherent' | 'suspect'
  /** What getOrSet would do now. */
  readonly next: 'serve l1' | 'serve l2' | 'serve stale and refresh' | 'join the load' | 'run the factory'
}
export interface Cache {
  /**
   * The value, or what the factory makes of the key: once for all who ask meanwhile. Rejects with what the factory throws where nothing stale may stand
   * in, with ERR_CACHE_FACTORY_TIMEOUT, _REENTRANT, _NOT_SERIALIZABLE, _OPTION or _CLOSED; never because l2 or a bus is away.
   */
  getOrSet<T>(key: string, factory: Factory<T>, options?: LoadOptions): Promise<T>
  /** The same for many keys and one call of the factory. A key that fails has its error as value; one that the factory leaves out is absent. */
  getOrSetMany<T>(keys: readonly string[], factory: BatchFactory<T>, options?: LoadOptions): Promise<Map<string, T | Error>>
  /** What is fresh, or undefined. */
  get<T>(key: string, options?: ReadOptions): Promise<T | undefined>
  /**
   * Stores in both layers. Like the invalidations below it counts in this process at once, and rejects with ERR_CACHE_INVALIDATION_PENDING, after
   * l2HardTimeoutMs at the latest, where l2 or the bus has not confirmed it.
   */
  set<T>(key: string, value: T, options?: StoreOptions): Promise<void>
  delete(key: string, options?: Cancellable): Promise<void>
  deleteMany(keys: readonly string[], options?: Cancellable): Promise<void>
  /** One tag or several: entries that carry any of them. */
  deleteByTag(tags: string | readonly string[], options?: Cancellable): Promise<void>
  /** Every entry of the namespace, in every process. */
  clear(options?: Cancellable): Promise<void>
  /** The insert of the intent is sent at once, the invalidation begins with the COMMIT. Throws ERR_CACHE_NO_AFTER_COMMIT, _NO_INTENT_STORE, _OPTION, _CLOSED. */
  invalidateAfterCommit(tx: TransactionLike, what: { keys?: readonly string[]; tags?: readonly string[] }): void
  /**
   * Stands for all that was written and invalidated through this cache so far, commits included; for `after` in another process. About 45 characters that
   * fit into a cookie or header, and tell neither keys nor tags. Waits until l2 and the bus have what is under way, at most l2HardTimeoutMs.
   */
  token(options?: Cancellable): Promise<string>
  /** What is known of a key, without changing anything. */
  explain(key: string, options?: Cancellable): Promise<Explanation>
  stats(): CacheStats
  /** Resolves when l2 answers, the bus is confirmed and the table of the intents exists. Waits for l2 and the bus as long as it takes. */
  ready(options?: Cancellable): Promise<void>
  /** Warns of what makes things slow; never rejects for it. */
  check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }>
  /** Waits for loads, writes and queued invalidations, `timeoutMs` at most (default 5000), then cuts. */
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
