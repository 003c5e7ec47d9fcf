import { settlesWithin, withDeadline } from '@platform/kernel'
import type { Queryable } from './connection.ts'
import { DbPoolError } from './errors.ts'
import type { ResolvedDbPoolOptions } from './options.ts'
import type { Session } from './session.ts'

/** Undoing what a borrower left behind may take this long. */
const cleanTimeoutMs = 2_000

/**
 * Everything of DISCARD ALL except the prepared statements of `pg` and their plans; those made by PREPARE, wherever it stood, are reported.
 */
const reset =
  'close all; set session authorization default; reset role; reset all; unlisten *; select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences; select exists (select from pg_catalog.pg_prepared_statements where from_sql) as prepared'

export type Leftover = 'statement' | 'transaction' | 'session'

/** What the borrower of a connection left in it, to be told; undefined when that is nothing of note. */
export function leftoverOf(session: Session): Leftover | undefined {
  if (!session.quiet) return 'statement'
  if (session.status !== 'I') return 'transaction'
  return session.residue === 'certain' || session.residue === 'lasting' ? 'session' : undefined
}

/** Whether the next borrower may get the connection as it is. */
export function isClean(session: Session): boolean {
  return session.quiet && session.status === 'I' && session.residue === 'none'
}

/** What a borrower left running is cancelled, what it left open is rolled back, the session is reset. False: it is not to be had clean. */
export async function clean(session: Session, options: ResolvedDbPoolOptions): Promise<boolean> {
  if (!session.quiet) {
    session.cancelAll(
      new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was given back while the statement ran: it was cancelled'),
      options.cancelTimeoutMs,
    )
    if (!(await session.settle(options.cancelTimeoutMs))) return false
  }
  if (session.failure !== undefined || session.residue === 'lasting') return false
  const rollback = session.status !== 'I'
  // Behind a pooler the next statement may run in any session: there is nothing to reset.
  const needsReset = session.residue !== 'none' && options.pooler === 'none'
  if (!rollback && !needsReset) {
    session.residue = 'none'
    return true
  }
  const text = needsReset ? `${rollback ? 'rollback; ' : ''}${reset}` : 'rollback'
  const cleaned = session.query<{ prepared?: boolean }>(text).then(async ({ rows }) => {
    if (rows[0]?.prepared === true) return false
    if (needsReset) await prepare(session, options)
    return true
  })
  const good = cleaned.catch((error: unknown) => {
    options.logger.warn({ err: error }, 'a session could not be reset: its connection is replaced')
    return false
  })
  return (await settlesWithin(good, cleanTimeoutMs)) && good
}

/** Runs the user's hook on a session that is new or reset. */
export async function prepare(session: Session, { onConnect, connectTimeoutMs }: ResolvedDbPoolOptions): Promise<void> {
  session.residue = 'none'
  if (onConnect === undefined) return
  const connection: Queryable = { query: (text, values) => session.query(text, values) }
  await withDeadline(
    connectTimeoutMs,
    () => new Error(`onConnect did not end within ${connectTimeoutMs} ms`),
    async () => onConnect(connection),
  )
  if (!session.quiet || session.status !== 'I') throw new Error('onConnect left a statement or a transaction open')
  session.residue = 'none'
}
