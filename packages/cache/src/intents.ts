import { randomUUID } from 'node:crypto'
import { CacheError } from './errors.ts'
import type { Invalidation, QueryableLike } from './invalidation.ts'
import type { LoggerLike } from './options.ts'

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
  readonly #namespace: string
  readonly #deliver: (what: Invalidation) => Promise<void>
  readonly #logger: LoggerLike | undefined
  readonly #timer: NodeJS.Timeout
  #prepared: Promise<void> | undefined
  #sweeping: Promise<void> | undefined
  readonly #inFlight = new Set<Promise<void>>()

  constructor(
    db: QueryableLike,
    sweepIntervalMs: number,
    options: { readonly namespace: string; readonly logger: LoggerLike | undefined; deliver(what: Invalidation): Promise<void> },
  ) {
    this.#db = db
    this.#namespace = options.namespace
    this.#logger = options.logger
    this.#deliver = (what) => options.deliver(what)
    this.#timer = setInterval(() => this.#sweepQuietly(), sweepIntervalMs).unref()
    this.#sweepQuietly()
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
   * The insert is sent at once, so it runs before the COMMIT on the same connection. Should it fail, PostgreSQL has aborted the
   * transaction; the hook delivers in any case when there is a commit.
   */
  add(tx: TransactionLike, what: Invalidation): void {
    if (!tx.afterCommit) throw new CacheError('ERR_CACHE_NO_AFTER_COMMIT', undefined, { namespace: this.#namespace })
    const id = randomUUID()
    const written = tx.query(insert, [id, this.#namespace, JSON.stringify(what.keys), JSON.stringify(what.tags)]).then(
      () => undefined,
      (err: unknown) => this.#logger?.error({ err, namespace: this.#namespace }, 'the intent of an invalidation could not be written'),
    )
    tx.afterCommit(() => {
      const work = written
        .then(() => this.#deliver(what))
        .then(() => this.#db.query(remove, [[id]]))
        .then(
          () => undefined,
          (err: unknown) =>
            this.#logger?.warn({ err, namespace: this.#namespace }, 'an invalidation after a commit waits for the next sweep'),
        )
        .finally(() => this.#inFlight.delete(work))
      this.#inFlight.add(work)
      return work
    })
  }

  /** Delivers what other processes, or earlier lives of this one, left behind. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined
    })
    return this.#sweeping
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.allSettled([...this.#inFlight, this.#sweeping])
  }

  #sweepQuietly(): void {
    this.sweep().catch((err: unknown) => this.#logger?.debug({ err, namespace: this.#namespace }, 'intents could not be swept'))
  }

  async #sweep(): Promise<void> {
    await this.ready()
    for (;;) {
      const rows = rowsOf<{ id: string; keys: string[]; tags: string[] }>(await this.#db.query(leftovers, [this.#namespace]))
      if (rows.length === 0) return
      await this.#deliver({ keys: rows.flatMap((row) => row.keys), tags: rows.flatMap((row) => row.tags), all: false })
      await this.#db.query(remove, [rows.map((row) => row.id)])
      this.#logger?.info({ namespace: this.#namespace, count: rows.length }, 'delivered invalidations that a crash had left behind')
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
