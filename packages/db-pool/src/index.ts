export { CAUSALITY_HEADER, causalityHook, causalityToken, withCausality } from './causality-hook.ts'
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
export { type Blocker, DbPoolError, type DbPoolErrorCode, type Holder } from './errors.ts'
export type { Cancellable, Credential, DbPoolOptions, LoggerLike, SecretLike } from './options.ts'
export { type EntityManagerLike, type EntityManagerTransaction, fromEntityManager, toTypeOrmDriver } from './interop/typeorm.ts'
export { toPgPool } from './interop/pg-pool.ts'
export {
  baselineMigrations,
  checkMigrations,
  type MigrateOptions,
  type MigrateResult,
  type MigrationDirectory,
  type MigrationStatus,
  migrate,
  migrationStatus,
} from './migrations/migrate.ts'
