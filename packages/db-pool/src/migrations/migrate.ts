import { createHash } from 'node:crypto'
import type { Connection } from '../connection.ts'
import type { DbPool } from '../db-pool.ts'
import { DbPoolError } from '../errors.ts'
import { type Cancellable, invalid } from '../options.ts'
import { delay } from '../timing.ts'
import { type MigrationFile, readMigrationFiles, unusable } from './files.ts'

export interface MigrateOptions extends Cancellable {
  /** Folder of files named like `0001-create-orders.sql`. */
  directory: string
  /** Says what would be applied and changes nothing. Default false. */
  dryRun?: boolean | undefined
}

export interface MigrateResult {
  /** File names in the order of their application. */
  applied: string[]
}

interface AppliedMigration {
  readonly number: string
  readonly file: string
  readonly checksum: string
}

const table = 'platform_migrations'
const pollMs = { min: 50, max: 250 }

/**
 * Applies the files that the database has not seen, each in a transaction of its own together with its record. Processes that start at
 * once take turns; the later ones find nothing to do. What was applied stays when a later file fails.
 */
export async function migrate(db: DbPool, options: MigrateOptions): Promise<MigrateResult> {
  const { directory, dryRun = false, signal } = options
  if (typeof directory !== 'string' || directory === '') throw invalid('directory', 'must be a path')
  const files = await readMigrationFiles(directory)
  return db.withConnection(
    async (connection) => {
      if (dryRun) return { applied: pending(files, await readApplied(connection)).map(({ file }) => file) }
      // Both end with the connection's return to the pool.
      await connection.query('set statement_timeout = 0; set idle_in_transaction_session_timeout = 0')
      await lock(connection, signal)
      await connection.query(
        `create table if not exists ${table} (number bigint primary key, file text not null, checksum text not null, applied_at timestamptz not null default now())`,
      )
      const todo = pending(files, await readApplied(connection))
      for (const file of todo) {
        signal?.throwIfAborted()
        await apply(connection, file)
      }
      await connection.query('select pg_advisory_unlock_all()')
      return { applied: todo.map(({ file }) => file) }
    },
    { signal },
  )
}

/** Polls instead of waiting in the server: a waiting statement would hold a snapshot, and CREATE INDEX CONCURRENTLY waits for those. */
async function lock(connection: Connection, signal: AbortSignal | undefined): Promise<void> {
  const { rows } = await connection.query<{ place: string }>("select current_database() || '.' || coalesce(current_schema(), '') as place")
  const key = createHash('sha256').update(`@platform/db-pool ${rows[0]?.place}.${table}`).digest().readBigInt64BE().toString()
  for (;;) {
    const attempt = await connection.query<{ locked: boolean }>('select pg_try_advisory_lock($1::bigint) as locked', [key])
    if (attempt.rows[0]?.locked) return
    await delay(pollMs.min + Math.random() * (pollMs.max - pollMs.min), signal)
  }
}

async function readApplied(connection: Connection): Promise<readonly AppliedMigration[]> {
  const { rows } = await connection.query<{ exists: boolean }>(`select to_regclass('${table}') is not null as exists`)
  if (!rows[0]?.exists) return []
  const applied = await connection.query<AppliedMigration & Record<string, unknown>>(
    `select number::text, file, checksum from ${table} order by ${table}.number`,
  )
  return applied.rows
}

function pending(files: readonly MigrationFile[], applied: readonly AppliedMigration[]): readonly MigrationFile[] {
  const byNumber = new Map(files.map((file) => [file.number, file]))
  const newestFile = files.at(-1)?.number ?? -1n
  for (const { number, file, checksum } of applied) {
    const here = byNumber.get(BigInt(number))
    if (here === undefined) {
      // Newer than all we have: an older version of the program runs beside or after a newer one.
      if (BigInt(number) > newestFile) continue
      throw new DbPoolError('ERR_DB_POOL_MIGRATION_MISSING', `${file} was applied and is no longer there`, { file })
    }
    if (here.checksum !== checksum) {
      throw new DbPoolError('ERR_DB_POOL_MIGRATION_CHANGED', `${here.file} was changed after it had been applied`, { file: here.file })
    }
  }
  const newest = applied.reduce((highest, { number }) => (BigInt(number) > highest ? BigInt(number) : highest), -1n)
  const seen = new Set(applied.map(({ number }) => BigInt(number)))
  const todo = files.filter(({ number }) => !seen.has(number))
  const late = todo.find(({ number }) => number < newest)
  if (late !== undefined) {
    throw new DbPoolError('ERR_DB_POOL_MIGRATION_ORDER', `${late.file} comes before files that are applied: give it a higher number`, {
      file: late.file,
    })
  }
  return todo
}

async function apply(connection: Connection, file: MigrationFile): Promise<void> {
  try {
    if (file.inTransaction) await applyInTransaction(connection, file)
    else {
      await connection.query(file.text)
      await record(connection, file)
    }
  } catch (error) {
    if (connection.transactionStatus !== 'I') await connection.query('rollback').catch(() => {})
    if (DbPoolError.isInstance(error)) throw error
    throw new DbPoolError('ERR_DB_POOL_MIGRATION_FAILED', `${file.file} failed`, { file: file.file, cause: error })
  }
}

async function applyInTransaction(connection: Connection, file: MigrationFile): Promise<void> {
  await connection.query('begin')
  const before = await transactionId(connection)
  await connection.query(file.text)
  if (connection.transactionStatus !== 'T' || (await transactionId(connection)) !== before) {
    throw unusable(file.file, 'must not begin, commit or roll back: it runs in a transaction of its own')
  }
  await record(connection, file)
  await connection.query('commit')
}

async function transactionId(connection: Connection): Promise<string | undefined> {
  const { rows } = await connection.query<{ id: string }>('select pg_current_xact_id()::text as id')
  return rows[0]?.id
}

async function record(connection: Connection, { number, file, checksum }: MigrationFile): Promise<void> {
  await connection.query(`insert into ${table} (number, file, checksum) values ($1, $2, $3)`, [number.toString(), file, checksum])
}
