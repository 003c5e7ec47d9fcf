import type { DeadLetter, DeadLetterStore, Envelope } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Cancellable } from '../../shapes.ts'
import type { Boss } from './boss.ts'
import type { Connections } from './connection.ts'
import { queueName } from './registry.ts'

interface Row {
  data: Envelope
  attempt: number
  reason: string | null
  dead_at: Date
  parked: boolean | null
}

/** A dead letter is a failed row of its group's queue; a failed row blocks its key by pg-boss' own policy, which is what parking is. */
export class PostgresDeadLetters implements DeadLetterStore {
  readonly #connections: Connections
  readonly #boss: Boss
  readonly #job: string
  readonly #channel: string

  constructor(connections: Connections, boss: Boss, schema: string, channel: string) {
    this.#connections = connections
    this.#boss = boss
    this.#job = `${schema}.job`
    this.#channel = channel
  }

  async count(destination: string, group: string): Promise<number> {
    const rows = await this.#query<{ count: number }>(
      `select count(*)::int as count from ${this.#job} where name = $1 and state = 'failed'`,
      [queueName(destination, group)],
    )
    return rows[0]?.count ?? 0
  }

  async list(destination: string, group: string, { limit }: Cancellable & { limit: number }): Promise<DeadLetter[]> {
    const rows = await this.#query<Row>(
      `select data, retry_count + 1 as attempt, output->>'reason' as reason, completed_on as dead_at, singleton_key like 'k:%' as parked
       from ${this.#job} where name = $1 and state = 'failed' order by completed_on, id limit $2`,
      [queueName(destination, group), limit],
    )
    return rows.map(({ data, attempt, reason, dead_at, parked }) => ({
      id: data.id,
      key: data.key,
      body: data.body,
      headers: data.headers,
      publishedAt: new Date(data.publishedAt),
      attempt,
      reason: reason ?? '',
      deadAt: dead_at,
      parked: parked ?? false,
    }))
  }

  /** `retry` goes before everything new of its key. */
  async replay(destination: string, group: string, id: string): Promise<void> {
    const queue = queueName(destination, group)
    const rows = await this.#query(
      `update ${this.#job} set state = 'retry', retry_count = 0, started_on = null, completed_on = null, output = null, start_after = now()
       where name = $1 and state = 'failed' and id = (
         select id from ${this.#job} where name = $1 and state = 'failed' and data->>'id' = $2 order by completed_on, id limit 1)
       returning pg_notify($3, $1)`,
      [queue, id, this.#channel],
    )
    if (rows.length === 0) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination, messageId: id })
  }

  /** Takes the dead letter out of its key's place. */
  async release(destination: string, group: string, key: string): Promise<void> {
    const rows = await this.#query(
      `update ${this.#job} set singleton_key = 'm:' || id where name = $1 and state = 'failed' and singleton_key = 'k:' || $2
       returning pg_notify($3, $1)`,
      [queueName(destination, group), key, this.#channel],
    )
    if (rows.length === 0) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
  }

  async #query<R>(text: string, values: readonly unknown[]): Promise<R[]> {
    await this.#boss.started()
    const { rows } = await this.#connections.query<R>(text, values)
    return rows
  }
}
