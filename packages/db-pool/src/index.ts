export type {
  Connection,
  DbPoolStats,
  IsolationLevel,
  Queryable,
  QueryOptions,
  QueryResult,
  Transaction,
  TransactionOptions,
} from './connection.ts'
export { createDbPool, type DbPool } from './db-pool.ts'
export { DbPoolError, type DbPoolErrorCode, type Holder } from './errors.ts'
export type { Cancellable, Credential, DbPoolOptions, LoggerLike, SecretLike } from './options.ts'
