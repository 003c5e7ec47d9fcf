import { backoffMs, durationOption, integerOption, knownOptions, pause } from '@platform/kernel'
import type { Connection } from '../connection.ts'
import { type DbPool, engineOf } from '../db-pool.ts'
import { DbPoolError, sqlState } from '../errors.ts'
import { withHeldConnection } from '../held-connection.ts'
import { type Cancellable, invalid, type LoggerLike, mustHaveSessions } from '../options.ts'
import { scan } from '../sql/scanner.ts'
import { statementOf } from '../sql/statement.ts'
import { type MigrationFile, readMigrationFiles, readSeedFiles, type SqlFile, unusable } from './files.ts'
import { contradictions, createSeedTable, createTables, findTables, pending, readApplied, record, type Tables } from './history.ts'
import { MigrationLock } from './lock.ts'
import { drift, invalidIndexes, rememberObjects } from './schema.ts'

export interface MigrationDirectory extends Cancellable {
  /** Folder of files named like `0001-create-orders.sql`. */
  directory: string
}

export interface MigrateOptions extends MigrationDirectory {
  /** Folder of further .sql files, run in the order of their names after the migrations, each again whenever it was changed. Default none. */
  seeds?: string | undefined
  /** Says what would be applied and changes nothing. Default false. */
  dryRun?: boolean | undefined
  /** How long a statement of a file may wait for a lock of the database, ms; 0 is for ever. Then the file is rolled back and tried again. Default 5000. */
  lockTimeoutMs?: number | undefined
  /** Tries of one file, including the first, when it gets no lock or meets a deadlock. Default 10. */
  maxAttempts?: number | undefined
  /** How long to wait for another process that migrates, ms. Default 600000. */
  waitTimeoutMs?: number | undefined
}

export interface MigrateResult {
  /** File names in the order of their application. */
  applied: string[]
  /** Seeds that were new or changed. */
  seeded: string[]
}

export interface MigrationStatus {
  applied: { file: string; appliedAt: Date }[]
  pending: string[]
}

interface Run {
  readonly connection: Connection
  readonly tables: Tables
  readonly logger: LoggerLike
  readonly lockTimeoutMs: number
  readonly maxAttempts: number
  readonly signal: AbortSignal | undefined
}

const retryMs = { initial: 200, max: 5_000 }
/** Every file begins in the same session, whatever the one before it did. The lock on the migrations stays. */
const sameSession =
  'close all; set session authorization default; reset role; reset all; unlisten *; discard temp; discard sequences; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0'

/**
 * Applies the files that the database has not seen, each in a transaction of its own together with its record. Processes that start at
 * once take turns; the later ones find nothing to do. What was applied stays when a later file fails.
 */
export async function migrate(db: DbPool, options: MigrateOptions): Promise<MigrateResult> {
  knownOptions(invalid, '', options, ['directory', 'seeds', 'dryRun', 'lockTimeoutMs', 'maxAttempts', 'waitTimeoutMs', 'signal'])
  const { dryRun = false, signal } = options
  const lockTimeoutMs = durationOption(invalid, 'lockTimeoutMs', options.lockTimeoutMs ?? 5_000, 0)
  const maxAttempts = integerOption(invalid, 'maxAttempts', options.maxAttempts ?? 10, 1)
  const waitTimeoutMs = durationOption(invalid, 'waitTimeoutMs', options.waitTimeoutMs ?? 600_000, 0)
  const files = await readMigrationFiles(path('directory', options.directory))
  const seeds = options.seeds === undefined ? [] : await readSeedFiles(path('seeds', options.seeds))
  return onOneConnection(db, signal, async (connection, logger) => {
    const tables = await findTables(connection)
    if (dryRun) return { applied: pending(files, await readApplied(connection, tables)).map(({ file }) => file), seeded: [] }
    const run: Run = { connection, tables, logger, lockTimeoutMs, maxAttempts, signal }
    // Both end with the connection's return to the pool.
    await connection.query('set statement_timeout = 0; set idle_in_transaction_session_timeout = 0')
    const lock = await MigrationLock.of(connection, tables)
    await lock.acquire({ waitTimeoutMs, logger, signal })
    await createTables(connection, tables)
    const applied = await applyAll(run, files, lock)
    const seeded: string[] = []
    if (seeds.length > 0) await createSeedTable(connection, tables)
    for (const seed of seeds) if (await applySeed(run, seed)) seeded.push(seed.file)
    await connection.query(sameSession)
    if (applied.length + seeded.length > 0) await rememberObjects(connection, tables)
    await lock.release()
    return { applied, seeded }
  })
}

export async function migrationStatus(db: DbPool, options: MigrationDirectory): Promise<MigrationStatus> {
  const files = await readMigrationFiles(path('directory', options.directory))
  return onOneConnection(db, options.signal, async (connection) => {
    const applied = await readApplied(connection, await findTables(connection))
    const seen = new Set(applied.map(({ number }) => BigInt(number)))
    return {
      applied: applied.map(({ file, appliedAt }) => ({ file, appliedAt })),
      pending: files.filter(({ number }) => !seen.has(number)).map(({ file }) => file),
    }
  })
}

/** Everything that is not as the files say: changed and missing files, invalid indexes, objects changed by hand. Empty: all is well. */
export async function checkMigrations(db: DbPool, options: MigrationDirectory): Promise<string[]> {
  const files = await readMigrationFiles(path('directory', options.directory))
  return onOneConnection(db, options.signal, async (connection) => {
    const tables = await findTables(connection)
    const applied = await readApplied(connection, tables)
    const indexes = await invalidIndexes(connection)
    return [
      ...contradictions(files, applied).map(({ message }) => message),
      ...indexes.map(({ index, table }) => `index ${index} of ${table} is invalid`),
      ...(applied.length === 0 ? [] : await drift(connection, tables)),
    ]
  })
}

/** Records files as applied without running them: for a database that was made without them. Only where nothing is recorded yet. */
export async function baselineMigrations(db: DbPool, options: MigrationDirectory & { upTo: string }): Promise<string[]> {
  const files = await readMigrationFiles(path('directory', options.directory))
  const last = files.findIndex(({ file }) => file === options.upTo)
  if (last < 0) throw invalid('upTo', 'must be the name of a file in the directory')
  return onOneConnection(db, options.signal, async (connection, logger) => {
    const tables = await findTables(connection)
    const lock = await MigrationLock.of(connection, tables)
    await lock.acquire({ waitTimeoutMs: 60_000, logger, signal: options.signal })
    await createTables(connection, tables)
    if ((await readApplied(connection, tables)).length > 0)
      throw invalid('upTo', 'is for a database without recorded migrations: this one has some')
    const recorded = files.slice(0, last + 1)
    await connection.query('begin')
    for (const file of recorded) await record(connection, tables, file)
    await connection.query('commit')
    await rememberObjects(connection, tables)
    await lock.release()
    return recorded.map(({ file }) => file)
  })
}

function onOneConnection<T>(
  db: DbPool,
  signal: AbortSignal | undefined,
  work: (connection: Connection, logger: LoggerLike) => Promise<T>,
): Promise<T> {
  const engine = engineOf(db)
  mustHaveSessions(engine.options, 'migrations')
  return withHeldConnection(engine, (connection) => work(connection, engine.logger), { signal, expected: true })
}

function path(option: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') throw invalid(option, 'must be a path')
  return value
}

async function applyAll(run: Run, files: readonly MigrationFile[], lock: MigrationLock): Promise<string[]> {
  const { connection, tables, signal } = run
  const done: string[] = []
  for (const file of pending(files, await readApplied(connection, tables))) {
    signal?.throwIfAborted()
    await connection.query(sameSession)
    if (!(await lock.isHeld())) throw new DbPoolError('ERR_DB_POOL_MIGRATION_LOCKED', `${done.at(-1)} let go of the lock on the migrations`)
    await attempt(run, file, () =>
      file.inTransaction ? inTransaction(run, file, () => record(connection, tables, file)) : alone(run, file),
    )
    done.push(file.file)
  }
  return done
}

/** A file that gets no lock in time gives way to those who wait behind it, and comes again. */
async function attempt({ connection, logger, maxAttempts, signal }: Run, { file }: SqlFile, apply: () => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return await apply()
    } catch (error) {
      if (connection.transactionStatus !== 'I') await connection.query('rollback').catch(() => {})
      signal?.throwIfAborted()
      const state = sqlState(error)
      if ((state !== '55P03' && state !== '40P01') || tried >= maxAttempts) {
        if (DbPoolError.isInstance(error)) throw error
        throw new DbPoolError('ERR_DB_POOL_MIGRATION_FAILED', `${file} failed`, { file, cause: error })
      }
      logger.warn({ file, attempt: tried, err: error }, 'a migration got no lock in time and is tried again')
      await pause(backoffMs(tried, retryMs.initial, retryMs.max), signal)
    }
  }
}

async function inTransaction({ connection, lockTimeoutMs }: Run, sqlFile: SqlFile, finish: () => Promise<void>): Promise<void> {
  const { file, text } = sqlFile
  await connection.query(`begin; set local lock_timeout = ${Math.round(lockTimeoutMs)}`)
  const before = await transactionId(connection)
  await connection.query(text)
  if (connection.transactionStatus !== 'T' || (await transactionId(connection)) !== before) {
    throw unusable(file, 'must not begin, commit or roll back: it runs in a transaction of its own')
  }
  // The record is ours, whoever the file has become.
  await connection.query('set session authorization default; reset role')
  // `if not exists` takes one of an earlier try for done.
  await refuseInvalidIndexes(connection, sqlFile)
  await finish()
  await connection.query('commit')
}

/** Without lock_timeout: CREATE INDEX CONCURRENTLY waits for other transactions by rights, and would leave an invalid index. */
async function alone({ connection, tables }: Run, file: MigrationFile): Promise<void> {
  // What drops or rebuilds one is the way to mend it.
  if (statementOf(file.text).operation === 'CREATE') await refuseInvalidIndexes(connection, file)
  await connection.query(file.text)
  await refuseInvalidIndexes(connection, file)
  await record(connection, tables, file)
}

/** Those that the file names, or that stand on a table where it builds one concurrently. */
async function refuseInvalidIndexes(connection: Connection, { file, text }: SqlFile): Promise<void> {
  const indexes = await invalidIndexes(connection)
  if (indexes.length === 0) return
  const names = new Set<string>()
  for (const token of scan(text)) if (token.kind === 'word' || token.kind === 'quoted') names.add(token.text)
  const left = indexes.find(({ name, table }) => names.has(name) || (names.has('concurrently') && names.has(table)))
  if (left === undefined) return
  throw new DbPoolError(
    'ERR_DB_POOL_MIGRATION_INDEX',
    `index ${left.index} is invalid, left by an earlier try: it is not used, and a unique one accepts duplicates. Mend what it failed on, then "drop index concurrently ${left.index}" and migrate again`,
    { file },
  )
}

async function applySeed(run: Run, seed: SqlFile): Promise<boolean> {
  const { connection, tables } = run
  await connection.query(sameSession)
  const { rows } = await connection.query<{ checksum: string }>(`select s.checksum from ${tables.seeds} s where s.file = $1`, [seed.file])
  if (rows[0]?.checksum === seed.checksum) return false
  await attempt(run, seed, () =>
    inTransaction(run, seed, async () => {
      await connection.query(
        `insert into ${tables.seeds} (file, checksum) values ($1, $2) on conflict (file) do update set checksum = excluded.checksum, applied_at = now()`,
        [seed.file, seed.checksum],
      )
    }),
  )
  return true
}

async function transactionId(connection: Connection): Promise<string | undefined> {
  const { rows } = await connection.query<{ id: string }>('select pg_catalog.pg_current_xact_id()::text as id')
  return rows[0]?.id
}
