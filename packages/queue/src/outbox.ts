import type { Broker } from './broker.ts'
import { ensureSchema, splitStatements } from './database.ts'
import { QueueError } from './errors.ts'
import type { Message } from './message.ts'
import { relayBatch, type RelayLimits } from './relay.ts'
import { silentLogger, type Cancellable, type Database, type LoggerLike, type TransactionLike } from './shapes.ts'
import { uuidv7 } from './uuid.ts'
import { known, within, wrong } from './validation.ts'

/** For those who manage their schema by migrations; otherwise the table is made by `ready()` or at first use. */
export const outboxSchema: string = `
create table if not exists platform_outbox (
  row_id uuid primary key,
  xid xid8 not null default pg_current_xact_id(),
  destination text not null,
  key text,
  message jsonb not null,
  due_at timestamptz not null default now(),
  retry_at timestamptz,
  attempts integer not null default 0,
  last_error text
);
create index if not exists platform_outbox_due on platform_outbox (due_at);
create index if not exists platform_outbox_order on platform_outbox (xid, row_id);
create index if not exists platform_outbox_waiting on platform_outbox (destination, key) where retry_at is not null;
`

export interface OutboxOptions {
  db: Database
  broker: Broker
  /**
   * Publishes the messages of a key in the order of their transactions; one relay of all processes is at work at a time, and a message
   * waits until every older transaction of the database has ended. Default false: all relays share the work, no order.
   */
  ordered?: boolean | undefined
  /** How often the table is looked at when nothing wakes the relay, in milliseconds, ± 20 %. Default 500, 10 to 60,000. */
  pollIntervalMs?: number | undefined
  /** Rows published together. Default 200, 1 to 1,000. */
  batchSize?: number | undefined
  logger?: LoggerLike | undefined
}

export interface OutboxAddOptions {
  /** Not published before this many milliseconds have passed. Default 0. */
  delayMs?: number | undefined
  /** Default: a new UUID v7. */
  id?: string | undefined
}

export interface Outbox {
  /** Stores the message in the caller's transaction: it is published if and only if that commits. */
  add<T>(tx: TransactionLike, message: Message<T>, body: T, options?: OutboxAddOptions): Promise<{ id: string }>
  stats(): { relayed: number; failed: number }
  /** Creates the table when it is missing. Call it at start: at first use it needs a second connection beside the caller's transaction. */
  ready(options?: Cancellable): Promise<void>
  /** Publishes what is due now; what fails stays in the table. */
  drain(options?: Cancellable): Promise<void>
  /** Drains, then stops the relay. Default 10,000 ms. Unpublished messages stay in the table. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function createOutbox(options: OutboxOptions): Outbox {
  known('createOutbox', options, ['db', 'broker', 'ordered', 'pollIntervalMs', 'batchSize', 'logger'])
  if (typeof options.db?.transaction !== 'function') throw wrong('db: an object with transaction() and query()')
  if (typeof options.broker?.send !== 'function') throw wrong('broker: what createBroker() returned')
  return new TableOutbox(options)
}

class TableOutbox implements Outbox {
  readonly #db: Database
  readonly #broker: Broker
  readonly #limits: RelayLimits
  readonly #pollIntervalMs: number
  readonly #logger: LoggerLike
  readonly #stop = new AbortController()
  readonly #counts = { relayed: 0, failed: 0 }
  #schema: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #running: Promise<number> | undefined
  #again = false
  #troubled = 0
  #closed: Promise<void> | undefined

  constructor(options: OutboxOptions) {
    this.#db = options.db
    this.#broker = options.broker
    this.#logger = options.logger ?? silentLogger
    this.#pollIntervalMs = within('pollIntervalMs', options.pollIntervalMs ?? 500, 10, 60_000)
    this.#limits = { ordered: options.ordered ?? false, batchSize: within('batchSize', options.batchSize ?? 200, 1, 1_000) }
    this.#schedule()
  }

  async add<T>(tx: TransactionLike, message: Message<T>, body: T, { delayMs = 0, id }: OutboxAddOptions = {}): Promise<{ id: string }> {
    if (this.#stop.signal.aborted) throw new QueueError('ERR_QUEUE_CLOSED')
    within('delayMs', delayMs, 0, 2_147_483_647)
    const outgoing = await this.#broker.prepare(message, body, { id })
    await this.#ensureTable()
    await tx.query(
      `insert into platform_outbox (row_id, destination, key, message, due_at)
       values ($1, $2, $3, $4, now() + $5 * interval '1 millisecond')`,
      [uuidv7(), outgoing.destination, outgoing.envelope.key ?? null, JSON.stringify(outgoing), delayMs],
    )
    if (delayMs === 0) tx.afterCommit?.(() => this.#wake())
    return { id: outgoing.envelope.id }
  }

  stats(): { relayed: number; failed: number } {
    return { ...this.#counts }
  }

  async ready({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    await this.#ensureTable()
    signal?.throwIfAborted()
  }

  async drain({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    const aborted = new Promise<never>((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    })
    // At most one more pass than there are full batches: a row that keeps failing must not hold a shutdown.
    let done: number
    do {
      await Promise.race([this.#running?.catch(() => {}), aborted])
      done = await Promise.race([this.#relay(), aborted])
    } while (done > 0)
  }

  close({ timeoutMs = 10_000 }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(timeoutMs: number): Promise<void> {
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(new QueueError('ERR_QUEUE_TIMEOUT')), timeoutMs)
    try {
      await this.drain({ signal: deadline.signal })
    } catch (error) {
      this.#logger.warn({ err: error }, 'outbox was not drained; its messages stay in the table')
    } finally {
      clearTimeout(timer)
      clearTimeout(this.#timer)
      this.#stop.abort(new QueueError('ERR_QUEUE_CLOSED'))
      await this.#running?.catch(() => {})
    }
  }

  #ensureTable(): Promise<void> {
    this.#schema ??= ensureSchema(this.#db, splitStatements(outboxSchema)).catch((error: unknown) => {
      this.#schema = undefined
      throw error
    })
    return this.#schema
  }

  #wake(): void {
    if (this.#running !== undefined) this.#again = true
    else void this.#pass()
  }

  #schedule(): void {
    if (this.#stop.signal.aborted) return
    clearTimeout(this.#timer)
    // Many processes poll one table: jitter keeps them apart; trouble makes all of them slower.
    const pause = this.#pollIntervalMs * 2 ** Math.min(this.#troubled, 5) * (0.8 + Math.random() * 0.4)
    this.#timer = setTimeout(() => void this.#pass(), pause)
    this.#timer.unref()
  }

  async #pass(): Promise<void> {
    clearTimeout(this.#timer)
    try {
      let done: number
      do {
        this.#again = false
        done = await this.#relay()
      } while (!this.#stop.signal.aborted && (this.#again || done === this.#limits.batchSize))
      this.#troubled = 0
    } catch (error) {
      if (this.#troubled === 0) this.#logger.warn({ err: error }, 'outbox cannot be read; retrying')
      this.#troubled += 1
    }
    this.#schedule()
  }

  /** One batch; calls share the one in flight. Resolves to the number published. */
  #relay(): Promise<number> {
    this.#running ??= this.#relayOnce().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #relayOnce(): Promise<number> {
    if (this.#stop.signal.aborted) return 0
    await this.#ensureTable()
    const { published, failures } = await relayBatch(this.#db, this.#broker, this.#limits, this.#stop.signal)
    this.#counts.relayed += published
    this.#counts.failed += failures.length
    for (const failure of failures) this.#logger.warn(failure, 'outbox message could not be published; it will be tried again')
    return published
  }
}
