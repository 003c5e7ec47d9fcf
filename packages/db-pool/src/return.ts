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
  'close all; set session authorization default; reset role; reset all; unlisten *; select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences; select exists (select from pg_catalog.pg_prepared_statements where from_sql) as prepared, pg_catalog.pg_is_in_recovery() as standby'

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

/** `standby`: it refused a write, and by its own words that is its role. */
export type Cleaned = 'clean' | 'unclean' | 'standby'

/** What a borrower left running is cancelled, what it left open is rolled back, the session is reset. */
export async function clean(session: Session, options: ResolvedDbPoolOptions): Promise<Cleaned> {
  if (!session.quiet) {
    session.cancelAll(
      new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection was given back while the statement ran: it was cancelled'),
      options.cancelTimeoutMs,
    )
    if (!(await session.settle(options.cancelTimeoutMs))) return 'unclean'
  }
  if (session.failure !== undefined || session.residue === 'lasting') return 'unclean'
  const rollback = session.status !== 'I'
  // Behind a pooler the next statement may run in any session: there is nothing to reset.
  const needsReset = session.residue !== 'none' && options.pooler === 'none'
  if (!rollback && !needsReset) {
    session.residue = 'none'
    return 'clean'
  }
  const text = needsReset ? `${rollback ? 'rollback; ' : ''}${reset}` : 'rollback'
  const cleaned = session.query<{ prepared?: boolean; standby?: boolean }>(text).then(async ({ rows: [facts] }): Promise<Cleaned> => {
    if (session.writeRefused && facts?.standby === true) return 'standby'
    if (facts?.prepared === true) return 'unclean'
    if (needsReset) await prepare(session, options)
    return 'clean'
  })
  const outcome = cleaned.catch((error: unknown): Cleaned => {
    options.logger.warn({ err: error }, 'a session could not be reset: its connection is replaced')
    return 'unclean'
  })
  return (await settlesWithin(outcome, cleanTimeoutMs)) ? outcome : 'unclean'
}

/** Runs the user's hook on a session that is new or reset. */
export async function prepare(session: Session, { onConnect, connectTimeoutMs }: ResolvedDbPoolOptions): Promise<void> {
  session.residue = 'none'
  session.writeRefused = false
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
