import type { Broker } from './broker.ts'
import { rowsOf } from './database.ts'
import { QueueError } from './errors.ts'
import type { OutgoingMessage } from './message.ts'
import { backoffMs } from './retry.ts'
import type { Database, TransactionLike } from './shapes.ts'

export interface RelayLimits {
  readonly ordered: boolean
  readonly batchSize: number
}

export interface RelayResult {
  readonly published: number
  readonly failures: { rowId: string; err: unknown; messageId: string; destination: string; attempts: number }[]
}

interface Row {
  row_id: string
  destination: string
  key: string | null
  message: OutgoingMessage | string
  attempts: number
}

const backoff = { initialDelayMs: 500, maxDelayMs: 60_000 }

const claimUnordered = `
  select row_id, destination, key, message, attempts from platform_outbox
  where due_at <= now() and (retry_at is null or retry_at <= now())
  order by due_at limit $1 for update skip locked`

/**
 * Only rows whose transaction is older than every transaction still open: a row of an older one can then no longer appear in front.
 * A row that waits for its retry holds back the later rows of its key, and of no other.
 */
const claimOrdered = `
  select row_id, destination, key, message, attempts from platform_outbox o
  where xid < pg_snapshot_xmin(pg_current_snapshot()) and due_at <= now() and (retry_at is null or retry_at <= now())
    and not exists (
      select 1 from platform_outbox w
      where w.destination = o.destination and w.key = o.key and w.retry_at > now() and (w.xid, w.row_id) < (o.xid, o.row_id))
  order by xid, row_id limit $1`

/**
 * Claim, publish, delete, in one transaction. A crash in between leaves the rows: they are published again under the same ids,
 * which an inbox recognises.
 */
export async function relayBatch(db: Database, broker: Broker, limits: RelayLimits, signal: AbortSignal): Promise<RelayResult> {
  return db.transaction(async (tx) => {
    if (limits.ordered && !(await ownsOrder(tx))) return { published: 0, failures: [] }
    const rows = rowsOf<Row>(await tx.query(limits.ordered ? claimOrdered : claimUnordered, [limits.batchSize]))
    const done: string[] = []
    const failures: RelayResult['failures'] = []
    const publishLane = async (lane: readonly Row[]): Promise<void> => {
      for (const row of lane) {
        const message = typeof row.message === 'string' ? (JSON.parse(row.message) as OutgoingMessage) : row.message
        try {
          await broker.send(message, { signal })
          done.push(row.row_id)
        } catch (error) {
          const { destination, envelope } = message
          failures.push({ rowId: row.row_id, err: error, destination, messageId: envelope.id, attempts: row.attempts + 1 })
          return
        }
      }
    }
    await Promise.all(lanesOf(rows, limits.ordered).map(publishLane))
    if (done.length > 0) await tx.query('delete from platform_outbox where row_id = any($1::uuid[])', [done])
    for (const { rowId, err, attempts } of failures) {
      if (signal.aborted) break
      await tx.query(
        `update platform_outbox set attempts = $2, retry_at = clock_timestamp() + $3 * interval '1 millisecond', last_error = $4
         where row_id = $1`,
        [rowId, attempts, backoffMs(attempts, backoff, 0.5 + Math.random() / 2), QueueError.isInstance(err) ? err.code : String(err)],
      )
    }
    return { published: done.length, failures }
  })
}

/** The lock ends with the transaction, however that ends, so that a crashed owner is replaced at once. */
async function ownsOrder(tx: TransactionLike): Promise<boolean> {
  const answer = await tx.query("select pg_try_advisory_xact_lock(hashtext('platform_outbox_order')) as owned")
  return rowsOf<{ owned: boolean }>(answer)[0]?.owned === true
}

/** What must be published one after the other. */
function lanesOf(rows: readonly Row[], ordered: boolean): Row[][] {
  if (!ordered) return rows.map((row) => [row])
  const lanes = new Map<string, Row[]>()
  for (const row of rows) {
    const name = row.key === null ? row.row_id : JSON.stringify([row.destination, row.key])
    const lane = lanes.get(name)
    if (lane === undefined) lanes.set(name, [row])
    else lane.push(row)
  }
  return [...lanes.values()]
}
