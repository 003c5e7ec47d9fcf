import pg from 'pg'
import type { Connection } from '../connection.ts'
import { DbPoolError } from '../errors.ts'
import type { MigrationFile } from './files.ts'

export interface AppliedMigration {
  readonly number: string
  readonly file: string
  readonly checksum: string
  readonly appliedAt: Date
}

/** The runner's own tables, by their full names, whatever a file does to search_path. */
export interface Tables {
  readonly schema: string
  readonly migrations: string
  readonly seeds: string
  readonly objects: string
}

const table = 'platform_migrations'

/** Where they are, or would be made: found by search_path as it is before any file runs. */
export async function findTables(connection: Connection): Promise<Tables> {
  const { rows } = await connection.query<{ schema: string }>(
    `select coalesce((select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = pg_catalog.to_regclass('${table}')), pg_catalog.current_schema(), 'public')::text as schema`,
  )
  const schema = rows[0]?.schema ?? 'public'
  const named = (name: string): string => `${pg.escapeIdentifier(schema)}.${name}`
  return { schema, migrations: named(table), seeds: named('platform_seeds'), objects: named('platform_schema_objects') }
}

export async function createTables(connection: Connection, { migrations, objects }: Tables): Promise<void> {
  await connection.query(
    `create table if not exists ${migrations} (number bigint primary key, file text not null, checksum text not null, applied_at timestamptz not null default now());
    create table if not exists ${objects} (object text primary key, definition text not null)`,
  )
}

export async function createSeedTable(connection: Connection, { seeds }: Tables): Promise<void> {
  await connection.query(
    `create table if not exists ${seeds} (file text primary key, checksum text not null, applied_at timestamptz not null default now())`,
  )
}

export async function readApplied(connection: Connection, { migrations }: Tables): Promise<readonly AppliedMigration[]> {
  const { rows } = await connection.query<{ there: boolean }>('select pg_catalog.to_regclass($1) is not null as there', [migrations])
  if (!rows[0]?.there) return []
  const applied = await connection.query<AppliedMigration & Record<string, unknown>>(
    `select m.number::text, m.file, m.checksum, m.applied_at as "appliedAt" from ${migrations} m order by m.number`,
  )
  return applied.rows
}

export async function record(connection: Connection, { migrations }: Tables, { number, file, checksum }: MigrationFile): Promise<void> {
  await connection.query(`insert into ${migrations} (number, file, checksum) values ($1, $2, $3)`, [number.toString(), file, checksum])
}

/** The files that are to be applied. Throws when files and history contradict each other. */
export function pending(files: readonly MigrationFile[], applied: readonly AppliedMigration[]): readonly MigrationFile[] {
  const [contradiction] = contradictions(files, applied)
  if (contradiction !== undefined) throw contradiction
  const seen = new Set(applied.map(({ number }) => BigInt(number)))
  return files.filter(({ number }) => !seen.has(number))
}

export function contradictions(files: readonly MigrationFile[], applied: readonly AppliedMigration[]): readonly DbPoolError[] {
  const found: DbPoolError[] = []
  const byNumber = new Map(files.map((file) => [file.number, file]))
  const newestFile = files.at(-1)?.number ?? -1n
  for (const { number, file, checksum } of applied) {
    const here = byNumber.get(BigInt(number))
    if (here === undefined) {
      // Newer than all we have: an older version of the program runs beside or after a newer one.
      if (BigInt(number) <= newestFile) {
        found.push(new DbPoolError('ERR_DB_POOL_MIGRATION_MISSING', `${file} was applied and is no longer there`, { file }))
      }
    } else if (here.checksum !== checksum) {
      const message = `${here.file} was changed after it had been applied`
      found.push(new DbPoolError('ERR_DB_POOL_MIGRATION_CHANGED', message, { file: here.file }))
    }
  }
  const newest = applied.reduce((highest, { number }) => (BigInt(number) > highest ? BigInt(number) : highest), -1n)
  const seen = new Set(applied.map(({ number }) => BigInt(number)))
  for (const { number, file } of files) {
    if (seen.has(number) || number > newest) continue
    const message = `${file} comes before files that are applied: give it a higher number`
    found.push(new DbPoolError('ERR_DB_POOL_MIGRATION_ORDER', message, { file }))
  }
  return found
}
