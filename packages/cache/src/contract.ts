import type { TransactionLike } from './intents.ts'

export interface Cancellable {
  signal?: AbortSignal | undefined
}
export interface StoreOptions extends Cancellable {
  /** Default: the cache's ttlMs. */
  ttlMs?: number | undefined
  tags?: readonly string[] | undefined
}
export interface FactoryEntry {
  /** Aborts when every caller has gone, at hardTimeoutMs and at close. */
  signal: AbortSignal
  tag(...tags: string[]): void
  /** May be changed until the factory returns; 0 stores nothing. */
  ttlMs: number
  /** The value goes to the callers and is not stored. */
  skip(): void
}
export type Factory<T> = (entry: FactoryEntry) => Promise<T> | T
export type BatchFactory<T> = (missing: readonly string[], options: { signal: AbortSignal }) => Promise<ReadonlyMap<string, T | Error>>
export interface CacheStats {
  hits: number
  misses: number
  stale: number
  /** Requests that got an error. */
  errors: number
  /** (hits + stale) of all requests; 0 before the first. */
  hitRate: number
  /** `suspect`: the bus is not confirmed; copies in l1 are short-lived. */
  coherence: 'coherent' | 'suspect'
  entries: number
  bytes: number
  evictions: number
  /** Invalidations that l2 or the bus has not taken yet. */
  pendingInvalidations: number
}
export interface Cache {
  getOrSet<T>(key: string, factory: Factory<T>, options?: StoreOptions): Promise<T>
  getOrSetMany<T>(keys: readonly string[], factory: BatchFactory<T>, options?: StoreOptions): Promise<Map<string, T | Error>>
  get<T>(key: string, options?: Cancellable): Promise<T | undefined>
  set<T>(key: string, value: T, options?: StoreOptions): Promise<void>
  delete(key: string, options?: Cancellable): Promise<void>
  deleteByTag(tag: string, options?: Cancellable): Promise<void>
  /** Every entry of the namespace, in every process. */
  clear(options?: Cancellable): Promise<void>
  invalidateAfterCommit(tx: TransactionLike, what: { keys?: readonly string[]; tags?: readonly string[] }): void
  stats(): CacheStats
  ready(options?: Cancellable): Promise<void>
  check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }>
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
