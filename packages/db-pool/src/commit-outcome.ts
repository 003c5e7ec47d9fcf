import type pg from 'pg'
import { pause, settlesWithin } from '@platform/kernel'
import type { QueryResult } from './connection.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'

/** Filled in by the server's answer to a question that goes out with COMMIT and comes back before it. */
export interface CommitFacts {
  /** Number of the transaction; null when it wrote nothing. */
  xid?: string | null
}

/**
 * Which life of the server numbers belong to: after a promotion, or a crash that lost the newest ones, the same number may be given to
 * another transaction. The time that statistics were reset is that of the latest crash.
 */
export const serverLife = `case when pg_catalog.pg_is_in_recovery() then null else pg_catalog.concat_ws(' ',
  pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8), (select stats_reset from pg_catalog.pg_stat_bgwriter)) end`
const question = 'select pg_catalog.pg_current_xact_id_if_assigned()::text as xid'
const pollMs = { initial: 50, max: 1_000 }

export function commitFacts(facts: CommitFacts): NonNullable<Parameters<Session['query']>[2]> {
  return {
    text: question,
    done: (error, result) => {
      if (error === undefined) Object.assign(facts, (result as QueryResult<CommitFacts>).rows[0])
    },
  }
}

/** What became of a COMMIT whose answer was lost. Asks until the server knows or the time to acquire is over; never guesses. */
export async function outcomeOf(
  pool: ConnectionPool,
  life: string | undefined,
  { xid }: CommitFacts,
): Promise<'committed' | 'aborted' | 'unknown'> {
  if (xid === undefined || life === undefined) return 'unknown'
  // It wrote nothing: committed or not is the same.
  if (xid === null) return 'committed'
  const deadline = performance.now() + pool.options.acquireTimeoutMs
  for (let waitMs = pollMs.initial; performance.now() < deadline; waitMs = Math.min(waitMs * 2, pollMs.max)) {
    const answer = await ask(pool, xid).catch(() => undefined)
    if (answer !== undefined) {
      if (answer.life !== life) return 'unknown'
      if (answer.status === 'committed' || answer.status === 'aborted') return answer.status
      if (answer.status === null) return 'unknown'
    }
    await pause(waitMs)
  }
  return 'unknown'
}

async function ask(pool: ConnectionPool, xid: string): Promise<{ status: string | null; life: string | null } | undefined> {
  const client: pg.Client = await pool.connect()
  try {
    const life = client.query<{ life: string | null }>(`select ${serverLife} as life`)
    const status = client.query<{ status: string | null }>('select pg_catalog.pg_xact_status($1::xid8) as status', [xid])
    // The number may lie beyond what the server knows: then another life has begun, which the other answer says.
    const both = Promise.all([life, status.catch(() => undefined)])
    both.catch(() => {})
    if (!(await settlesWithin(both, pool.options.connectTimeoutMs))) return undefined
    const [lives, states] = await both
    return { life: lives.rows[0]?.life ?? null, status: states?.rows[0]?.status ?? null }
  } finally {
    const ended = client.end()
    if (!(await settlesWithin(ended, 1_000))) client.connection.stream.destroy()
  }
}
