import { integerOption, knownOptions } from '@platform/kernel'
import { ensureSchema, rowsOf, splitStatements } from './database.ts'
import type { Database, TransactionLike } from './shapes.ts'
import { refuse, wrong } from './validation.ts'

/** For those who manage their schema by migrations; otherwise the table is made at first use. */
export const inboxSchema: string = `
create table if not exists platform_inbox (
  consumer text not null,
  message_id text not null,
  received_at timestamptz not null default now(),
  primary key (consumer, message_id)
);
create index if not exists platform_inbox_received_at on platform_inbox (received_at);
`

export interface InboxOptions {
  db: Database
  /**
   * How long ids are remembered, in milliseconds. Must exceed the longest retry and the age of dead letters you still replay.
   * Default 7 days, 60,000 to 10 years.
   */
  retentionMs?: number | undefined
}

export interface Inbox {
  readonly name: string
  /** Runs `work` in a transaction with the record of the id; resolves to false, without running it, when the id is recorded already. */
  once(consumer: string, messageId: string, work: (tx: TransactionLike) => Promise<void>): Promise<boolean>
  /**
   * The same for several messages in one transaction: `work` gets the ids that are not recorded yet and is not run when there are none.
   * Resolves to them.
   */
  onceEach(
    consumer: string,
    messageIds: readonly string[],
    work: (tx: TransactionLike, fresh: ReadonlySet<string>) => Promise<void>,
  ): Promise<ReadonlySet<string>>
  /** Creates the table when it is missing. */
  ready(): Promise<void>
}

const sweepIntervalMs = 60_000
const sweepBatch = 10_000

export function createInbox(options: InboxOptions): Inbox {
  knownOptions(refuse, '', options, ['db', 'retentionMs'])
  if (typeof options.db?.transaction !== 'function') throw wrong('db: an object with transaction() and query()')
  const { db } = options
  const retentionMs = integerOption(refuse, 'retentionMs', options.retentionMs ?? 7 * 86_400_000, 60_000, 3650 * 86_400_000)
  let schema: Promise<void> | undefined
  let sweptAt = performance.now()
  let sweeping = false

  const ready = (): Promise<void> => {
    schema ??= ensureSchema(db, splitStatements(inboxSchema)).catch((error: unknown) => {
      schema = undefined
      throw error
    })
    return schema
  }

  // Old ids are removed by the traffic itself, so that an inbox needs no timer and no close: in batches, one after the other, until none is left.
  const sweep = async (): Promise<void> => {
    const oldest = `select consumer, message_id from platform_inbox where received_at < now() - $1 * interval '1 millisecond' order by received_at limit ${sweepBatch}`
    for (let removed = sweepBatch; removed === sweepBatch; ) {
      const gone = await db.query(`delete from platform_inbox where (consumer, message_id) in (${oldest}) returning 1 as one`, [
        retentionMs,
      ])
      removed = rowsOf(gone).length
    }
  }
  const sweepSometimes = (): void => {
    if (sweeping || performance.now() - sweptAt < sweepIntervalMs) return
    sweptAt = performance.now()
    sweeping = true
    // A sweep that fails is repeated a minute later.
    sweep()
      .catch(() => {})
      .finally(() => {
        sweeping = false
      })
  }

  const onceEach: Inbox['onceEach'] = async (consumer, messageIds, work) => {
    await ready()
    sweepSometimes()
    return db.transaction(async (tx) => {
      // A concurrent duplicate waits here until the first one commits or rolls back; in one order, so that two batches never wait for each other.
      const inserted = await tx.query(
        `insert into platform_inbox (consumer, message_id) select $1, id from unnest($2::text[]) as id order by id
         on conflict do nothing returning message_id`,
        [consumer, messageIds],
      )
      const fresh = new Set(rowsOf<{ message_id: string }>(inserted).map((row) => row.message_id))
      if (fresh.size > 0) await work(tx, fresh)
      return fresh
    })
  }

  return {
    name: 'postgres',
    ready,
    async once(consumer, messageId, work) {
      return (await onceEach(consumer, [messageId], (tx) => work(tx))).size > 0
    },
    onceEach,
  }
}
