import { QueueError } from './errors.ts'
import type { Database } from './shapes.ts'

/** Rows of an answer in pg's form or TypeORM's. */
export function rowsOf<R>(result: unknown): R[] {
  if (Array.isArray(result)) return result as R[]
  const rows = (result as { rows?: unknown } | undefined)?.rows
  if (Array.isArray(rows)) return rows as R[]
  throw new QueueError('ERR_QUEUE_OPTION', { detail: 'db: query() resolves neither to { rows } nor to an array' })
}

/** `create … if not exists` alone can still collide when two processes start together, hence the lock. */
export async function ensureSchema(db: Database, statements: readonly string[]): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.query("select pg_advisory_xact_lock(hashtext('platform_queue_schema'))")
    for (const statement of statements) await tx.query(statement)
  })
}

export function splitStatements(sql: string): string[] {
  return sql
    .split(';')
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
}
