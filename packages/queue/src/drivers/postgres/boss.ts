import { backoffMs, pause } from '@platform/kernel'
import { PgBoss } from 'pg-boss'
import { QueueError } from '../../errors.ts'
import type { LoggerLike } from '../../shapes.ts'
import type { Connections } from './connection.ts'
import { makeTables } from './tables.ts'

/** The shortest lease that pg-boss allows: what a crashed process held comes back this much plus one supervision later. */
export const leaseSeconds: number = 10
const superviseSeconds = 3

export const queueOptions: {
  heartbeatSeconds: number
  expireInSeconds: number
  retryLimit: number
  retryDelay: number
  retentionSeconds: number
  deleteAfterSeconds: number
} = {
  heartbeatSeconds: leaseSeconds,
  expireInSeconds: 86_400,
  // Attempts are judged by the core, which then buries the message; pg-boss must never do so on its own.
  retryLimit: 1_000_000_000,
  retryDelay: 0,
  // Messages and dead letters stay until somebody takes them.
  retentionSeconds: 315_360_000,
  deleteAfterSeconds: 0,
}

/** The server answers, and says no for good: a right is missing. */
function isRefusal(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return code === '42501' || code === '3F000'
}

/** pg-boss, started at first use and as often as it takes. Its workers, schedules and notifications are not used. */
export class Boss {
  readonly #connections: Connections
  readonly #schema: string
  readonly #logger: LoggerLike
  readonly #closing = new AbortController()
  #boss: PgBoss | undefined
  #starting: Promise<PgBoss> | undefined

  constructor(connections: Connections, schema: string, logger: LoggerLike) {
    this.#connections = connections
    this.#schema = schema
    this.#logger = logger
  }

  /** Resolves once the tables exist; tries until then or until closed. */
  started(): Promise<PgBoss> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  get running(): PgBoss | undefined {
    return this.#boss
  }

  async close(): Promise<void> {
    this.#closing.abort(new QueueError('ERR_QUEUE_CLOSED'))
    const boss = await this.#starting?.catch(() => undefined)
    await boss?.stop({ graceful: false, close: false, timeout: 1_000 })
  }

  async #start(): Promise<PgBoss> {
    for (let attempt = 1; ; attempt += 1) {
      this.#closing.signal.throwIfAborted()
      const boss = this.#create()
      try {
        await boss.start()
        await this.#connections.query(makeTables(this.#schema))
        this.#boss = boss
        return boss
      } catch (error) {
        await boss.stop({ graceful: false, close: false }).catch(() => {})
        if (isRefusal(error)) {
          this.#starting = undefined
          throw new QueueError('ERR_QUEUE_REFUSED', { detail: 'the queue tables cannot be made or used', cause: error })
        }
        if (attempt === 1) this.#logger.warn({ err: error }, 'queue tables cannot be reached; retrying')
        await pause(backoffMs(attempt, 100, 3_000), this.#closing.signal).catch(() => {})
      }
    }
  }

  #create(): PgBoss {
    const boss = new PgBoss({
      // Rebuilding an index may take minutes; everything else must not.
      db: {
        executeSql: async (text, values) =>
          (await this.#connections.raw(text, values, /\bconcurrently\b/i.test(text) ? 0 : undefined)) as { rows: never[] },
      },
      schema: this.#schema,
      schedule: false,
      superviseIntervalSeconds: superviseSeconds,
      monitorIntervalSeconds: superviseSeconds,
      registerInstance: false,
      openTelemetry: { enabled: false },
    })
    boss.on('error', (error: unknown) => this.#logger.warn({ err: error }, 'queue supervision failed; it will be repeated'))
    boss.on('warning', (warning: unknown) => this.#logger.warn({ warning }, 'pg-boss warns'))
    return boss
  }
}
