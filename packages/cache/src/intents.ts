import { randomUUID } from 'node:crypto'
import { backgroundUpkeep, guarded, settlesWithin } from '@platform/kernel'
import { CacheError, withoutRequest } from './errors.ts'
import type { Invalidation, QueryableLike } from './invalidation.ts'
import type { Journal } from './journal.ts'
import { isSafeName } from './names.ts'

/** An open transaction: db-pool's, TypeORM's EntityManager with an afterCommit of yours, or an adapter of three lines. */
export interface TransactionLike {
  query(text: string, values?: readonly unknown[]): Promise<unknown>
  afterCommit?(run: () => void | Promise<void>): void
}

/** The table of the intents, for those who keep their schema in migrations; `ready()` creates it otherwise. */
export const invalidationSchema: string = `create table if not exists platform_cache_invalidations (
  id uuid primary key,
  namespace text not null,
  keys jsonb not null,
  tags jsonb not null,
  created_at timestamptz not null default now()
)`

export interface IntentsOptions {
  readonly namespace: string
  readonly journal: Journal
  /** Counts in this process when it returns; resolves when l2 and the bus have it. */
  deliver(what: Invalidation): Promise<void>
}

const insert = 'insert into platform_cache_invalidations (id, namespace, keys, tags) values ($1, $2, $3::jsonb, $4::jsonb)'
const remove = 'delete from platform_cache_invalidations where id = any($1::uuid[])'
const leftovers = `select id, keys, tags from platform_cache_invalidations
  where namespace = $1 and created_at < now() - interval '5 seconds' order by created_at limit 500`

/**
 * Invalidations bound to a commit. The intent is a row written by the transaction itself: a rollback takes it along, a commit makes it
 * durable, and it goes when the invalidation is delivered. What a crash leaves behind is delivered by the next sweep of any process.
 */
export class Intents {
  readonly #db: QueryableLike
  readonly #options: IntentsOptions
  readonly #endSweeps: () => void
  readonly #inFlight = new Set<Promise<void>>()
  #prepared: Promise<void> | undefined
  #sweeping: Promise<void> | undefined
  #closed = false

  constructor(db: QueryableLike, sweepIntervalMs: number, options: IntentsOptions) {
    this.#db = db
    this.#options = options
    this.#endSweeps = backgroundUpkeep(() => this.#sweepQuietly(), sweepIntervalMs, 0)
  }

  /** Creates the table if it is missing. */
  ready(): Promise<void> {
    this.#prepared ??= this.#create().catch((error: unknown) => {
      this.#prepared = undefined
      throw error
    })
    return this.#prepared
  }

  /**
   * The insert is sent at once, so it runs before the COMMIT on the same connection; names are in their safe form, so that it cannot abort the
   * transaction. The commit waits for nothing more: the row is durable, and what cannot be delivered now is delivered by a sweep.
   */
  add(tx: TransactionLike, what: Invalidation): void {
    const { namespace, journal } = this.#options
    if (!tx.afterCommit) throw new CacheError('ERR_CACHE_NO_AFTER_COMMIT', undefined, { namespace })
    const id = randomUUID()
    // A hook that is refused (the transaction has ended) writes no row.
    const written = Promise.withResolvers<void>()
    const hooked: unknown = tx.afterCommit(() => {
      if (this.#closed) return
      const work: Promise<void> = Promise.all([this.#options.deliver(what), written.promise])
        .then(() => this.#db.query(remove, [[id]]))
        .then(
          () => undefined,
          (error: unknown) =>
            journal.log('warn', 'an invalidation after a commit waits for the next sweep', { err: withoutRequest(error) }),
        )
        .finally(() => this.#inFlight.delete(work))
      this.#inFlight.add(work)
    })
    Promise.resolve(hooked).catch((error: unknown) =>
      journal.log('error', 'the hook for a commit was refused: its invalidation waits for the next sweep', { err: withoutRequest(error) }),
    )
    const row = [id, namespace, JSON.stringify(what.keys), JSON.stringify(what.tags)]
    const insertRow = async (): Promise<unknown> => tx.query(insert, row)
    insertRow().then(
      () => written.resolve(),
      (error: unknown) => {
        journal.log('error', 'the intent of an invalidation could not be written', { err: withoutRequest(error) })
        written.resolve()
      },
    )
  }

  /** Delivers what other processes, or earlier lives of this one, left behind. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined
    })
    return this.#sweeping
  }

  /** Ends the sweeps, and waits for what is under way, at most so long: the rows stay for others. */
  async close(timeoutMs: number): Promise<void> {
    this.#closed = true
    this.#endSweeps()
    await settlesWithin(Promise.allSettled([...this.#inFlight, this.#sweeping]), timeoutMs)
  }

  async #sweepQuietly(): Promise<void> {
    try {
      await this.sweep()
    } catch (error) {
      this.#options.journal.log('debug', 'intents could not be swept; trying again', { err: withoutRequest(error) })
      throw error
    }
  }

  async #sweep(): Promise<void> {
    await this.ready()
    const { namespace, journal } = this.#options
    while (!this.#closed) {
      const rows = rowsOf<{ id: string; keys: unknown; tags: unknown }>(await this.#db.query(leftovers, [namespace]))
      if (rows.length === 0 || this.#closed) return
      const what = { keys: rows.flatMap((row) => namesOf(row.keys)), tags: rows.flatMap((row) => namesOf(row.tags)), all: false }
      if (what.keys.length + what.tags.length > 0) await this.#options.deliver(what)
      await this.#db.query(remove, [rows.map((row) => row.id)])
      journal.log('info', 'delivered invalidations that a crash had left behind', { count: rows.length })
    }
  }

  /** Looks first: the right to create is not needed where a migration made the table. Of two processes that create at once, one fails and looks again. */
  async #create(): Promise<void> {
    const missing = async () =>
      rowsOf<{ found: unknown }>(await this.#db.query("select to_regclass('platform_cache_invalidations') as found"))[0]?.found == null
    if (!(await missing())) return
    try {
      await this.#db.query(invalidationSchema)
    } catch (error) {
      if (await missing()) throw error
    }
  }
}

/** `pg` and db-pool answer with `{ rows }`, TypeORM with the rows. */
function rowsOf<R>(result: unknown): R[] {
  return Array.isArray(result) ? (result as R[]) : (result as { rows: R[] }).rows
}

/** Rows are written by every version of this package, and by whoever else can: what is no name is left out. A driver may hand jsonb out as text. */
function namesOf(column: unknown): string[] {
  const parsed = typeof column === 'string' ? guarded(() => JSON.parse(column) as unknown) : column
  return Array.isArray(parsed) ? parsed.filter(isSafeName) : []
}
