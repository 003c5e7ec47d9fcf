import { backgroundTimeout, integerOption, knownOptions, orAborted, pause, safeLogger, settlesWithin } from '@platform/kernel'
import type { Broker } from './broker.ts'
import { QueueError } from './errors.ts'
import { createOutboxInstruments, type OutboxInstruments } from './instrumentation.ts'
import type { Message } from './message.ts'
import { backlog, disown, ensureOutboxTable } from './outbox-table.ts'
import { OutboxTrouble } from './outbox-trouble.ts'
import { relayBatch, type RelayLimits } from './relay.ts'
import { silentLogger, warningLogger, type Cancellable, type Database, type LoggerLike, type TransactionLike } from './shapes.ts'
import { uuidv7 } from './uuid.ts'
import { refuse, wrong } from './validation.ts'

export { outboxSchema } from './outbox-table.ts'

export interface OutboxOptions {
  db: Database
  broker: Broker
  /**
   * Publishes the messages of a key in the order in which they were added; one relay of all processes is at work at a time, and a message
   * waits until every older transaction that adds to this outbox has ended. Default false: all relays share the work, no order.
   */
  ordered?: boolean | undefined
  /** How often the table is looked at when nothing wakes the relay, in milliseconds, ± 20 %. Default 500, 10 to 60,000. */
  pollIntervalMs?: number | undefined
  /** Rows published together. Default 200, 1 to 1,000. */
  batchSize?: number | undefined
  /** Default: the broker's; when that is silent too, an outbox that cannot deliver says so by `process.emitWarning`. */
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
  add<In>(tx: TransactionLike, message: Message<In, unknown>, body: NoInfer<In>, options?: OutboxAddOptions): Promise<{ id: string }>
  stats(): { relayed: number; failed: number }
  /** Creates the tables when they are missing, trying until the database is there or the signal aborts. Call it at start: at first use it needs a second connection beside the caller's transaction. */
  ready(options?: Cancellable): Promise<void>
  /** Resolves when what is due is delivered, to a warning while it cannot be. */
  check(options?: Cancellable): Promise<void | { status: 'warn'; message: string }>
  /** Publishes what is due now; what fails stays in the table. */
  drain(options?: Cancellable): Promise<void>
  /** Drains, then stops the relay. Default 10,000 ms. Unpublished messages stay in the table. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function createOutbox(options: OutboxOptions): Outbox {
  knownOptions(refuse, '', options, ['db', 'broker', 'ordered', 'pollIntervalMs', 'batchSize', 'logger'])
  if (typeof options.db?.transaction !== 'function') throw wrong('db: an object with transaction() and query()')
  if (typeof options.broker?.send !== 'function') throw wrong('broker: what createBroker() returned')
  return new TableOutbox(options)
}

const measureIntervalMs = 15_000
const schemaRetryMs = 250

class TableOutbox implements Outbox {
  readonly #db: Database
  readonly #broker: Broker
  readonly #relayId = uuidv7()
  readonly #limits: RelayLimits
  readonly #pollIntervalMs: number
  readonly #logger: LoggerLike
  readonly #trouble: OutboxTrouble
  readonly #instruments: OutboxInstruments
  readonly #stop = new AbortController()
  readonly #counts = { relayed: 0, failed: 0 }
  #schema: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #running: Promise<number> | undefined
  #again = false
  #unread = 0
  #measuredAt = Number.NEGATIVE_INFINITY
  #closed: Promise<void> | undefined

  constructor(options: OutboxOptions) {
    this.#db = options.db
    this.#broker = options.broker
    const given = options.logger ?? options.broker.logger
    this.#logger = given === undefined || given === silentLogger ? warningLogger : safeLogger(given)
    this.#trouble = new OutboxTrouble(this.#logger)
    this.#instruments = createOutboxInstruments()
    this.#pollIntervalMs = integerOption(refuse, 'pollIntervalMs', options.pollIntervalMs ?? 500, 10, 60_000)
    this.#limits = {
      ordered: options.ordered ?? false,
      batchSize: integerOption(refuse, 'batchSize', options.batchSize ?? 200, 1, 1_000),
    }
    this.#schedule()
  }

  async add<In>(
    tx: TransactionLike,
    message: Message<In, unknown>,
    body: In,
    { delayMs = 0, id }: OutboxAddOptions = {},
  ): Promise<{ id: string }> {
    if (this.#stop.signal.aborted) throw new QueueError('ERR_QUEUE_CLOSED')
    integerOption(refuse, 'delayMs', delayMs, 0, 2_147_483_647)
    const outgoing = await this.#broker.prepare(message, body as NoInfer<In>, { id })
    await orAborted(this.#ensureTable(), this.#stop.signal)
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
    const bound = this.#bound(signal)
    for (let failures = 0; ; failures += 1) {
      bound.throwIfAborted()
      try {
        return await orAborted(this.#ensureTable(), bound)
      } catch (error) {
        bound.throwIfAborted()
        // Without a signal nobody bounds the wait: the caller hears at once.
        if (signal === undefined) throw error
        if (failures === 0) this.#logger.warn({ err: error }, 'outbox waits for its database')
        await pause(schemaRetryMs, bound)
      }
    }
  }

  async check({ signal }: Cancellable = {}): Promise<void | { status: 'warn'; message: string }> {
    signal?.throwIfAborted()
    const message = this.#unread > 0 ? 'the outbox cannot be read' : this.#trouble.message
    if (message !== undefined) return { status: 'warn', message }
  }

  async drain({ signal }: Cancellable = {}): Promise<void> {
    signal?.throwIfAborted()
    if (this.#stop.signal.aborted) return
    const bound = this.#bound(signal)
    // At most one more pass than there are full batches: a row that keeps failing must not hold a shutdown.
    let done: number
    do {
      await orAborted(this.#running?.catch(() => {}) ?? Promise.resolve(), bound)
      done = await orAborted(this.#relay(), bound)
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
    const draining = this.drain().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#logger.warn({ err: error }, 'outbox was not drained; its messages stay in the table')
    })
    if (!(await settlesWithin(draining, timeoutMs))) {
      this.#logger.warn({ timeoutMs }, 'outbox was not drained in time; its messages stay in the table')
    }
    clearTimeout(this.#timer)
    this.#stop.abort(new QueueError('ERR_QUEUE_CLOSED'))
    // A database that does not answer must not hold the close: the claim runs out by itself.
    await settlesWithin(this.#running ?? Promise.resolve(), giveBackMs)
    if (this.#limits.ordered && this.#schema !== undefined) await settlesWithin(disown(this.#db, this.#relayId), giveBackMs)
    this.#instruments.end()
  }

  /** The caller's, or the end of the outbox: no wait outlives it. */
  #bound(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
  }

  #ensureTable(): Promise<void> {
    this.#schema ??= ensureOutboxTable(this.#db).catch((error: unknown) => {
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
    const wait = this.#pollIntervalMs * 2 ** Math.min(this.#unread, 5) * (0.8 + Math.random() * 0.4)
    this.#timer = backgroundTimeout(() => void this.#pass(), wait)
  }

  async #pass(): Promise<void> {
    clearTimeout(this.#timer)
    try {
      let done: number
      do {
        this.#again = false
        done = await this.#relay()
        // Not after the last one: while messages keep coming, or fail, there is no last one.
        await this.#measure()
      } while (!this.#stop.signal.aborted && (this.#again || done === this.#limits.batchSize))
      if (this.#unread > 0) this.#logger.info({}, 'outbox can be read again')
      this.#unread = 0
    } catch (error) {
      if (this.#stop.signal.aborted) return
      if (this.#unread === 0) this.#logger.warn({ err: error }, 'outbox cannot be read; retrying')
      this.#unread += 1
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
    const result = await relayBatch(this.#db, this.#broker, this.#relayId, this.#limits, this.#stop.signal)
    this.#counts.relayed += result.published
    this.#counts.failed += result.failures.length
    this.#trouble.saw(result)
    return result.published
  }

  async #measure(): Promise<void> {
    if (performance.now() - this.#measuredAt < measureIntervalMs) return
    this.#measuredAt = performance.now()
    this.#instruments.measured(await backlog(this.#db))
  }
}

const giveBackMs = 2_000
