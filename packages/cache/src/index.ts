export { createCache } from './cache.ts'
export { noopCache } from './drivers/noop.ts'
export { CacheError } from './errors.ts'
export { invalidationSchema } from './intents.ts'
export { cacheAttributes, cacheMetrics, cacheSpans } from './instrumentation.ts'
export { jsonSerializer, v8Serializer } from './codec.ts'
export { compressed } from './compression.ts'

export type {
  BatchFactory,
  Cache,
  CacheStats,
  Cancellable,
  CopyExplanation,
  Explanation,
  Factory,
  FactoryEntry,
  LoadOptions,
  ReadOptions,
  StoreOptions,
} from './contract.ts'
export type { Isolation, Serializer } from './codec.ts'
export type { CompressionOptions } from './compression.ts'
export type {
  CacheDriver,
  LocalDriver,
  LocalStore,
  Publisher,
  SharedDriver,
  SharedFill,
  SharedLookup,
  SharedRead,
  SharedStore,
  SharedWrite,
} from './driver.ts'
export type { LocalEntry, TagRecord } from './entry.ts'
export type { CacheErrorCode } from './errors.ts'
export type { TransactionLike } from './intents.ts'
export type { BusTransport, Invalidation, InvalidationBus, QueryableLike, Telling } from './invalidation.ts'
export type { CacheOptions, LoggerLike, SuspectPolicy } from './options.ts'
export type { SchemaLike } from './schema.ts'
