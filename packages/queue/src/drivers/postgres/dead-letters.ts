import type { DeadLetter, DeadLetterStore, Envelope } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Cancellable } from '../../shapes.ts'
import type { Boss } from './boss.ts'
import { typed, type Connections } from './connection.ts'
import { queueName } from './tables.ts'

const oldestOf = (table: string): string =>
  `select distinct on (data->>'id') id from ${table} where name = $1 and state = 'failed' and data->>'id' = any($2::text[])
   order by data->>'id', completed_on, id`

interface Row {
  data: Envelope
  attempt: number
  reason: string | null
  dead_at: Date
  replays: number
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
      destination,
      `select count(*)::int as count from ${this.#job} where name = $1 and state = 'failed'`,
      [queueName(destination, group)],
    )
    return rows[0]?.count ?? 0
  }

  async list(destination: string, group: string, { limit }: Cancellable & { limit: number }): Promise<DeadLetter[]> {
    const rows = await this.#query<Row>(
      destination,
      `select data, coalesce((output->>'attempt')::int, retry_count + 1) as attempt, output->>'reason' as reason, completed_on as dead_at,
         coalesce((data->>'replays')::int, 0) as replays, singleton_key like 'k:%' as parked
       from ${this.#job} where name = $1 and state = 'failed' order by completed_on, id limit $2`,
      [queueName(destination, group), limit],
    )
    return rows.map(({ data, attempt, reason, dead_at, replays, parked }) => ({
      id: data.id,
      key: data.key,
      body: data.body,
      headers: data.headers,
      publishedAt: new Date(data.publishedAt),
      attempt,
      reason: reason ?? '',
      deadAt: dead_at,
      replays,
      parked: parked ?? false,
    }))
  }

  /** `retry` goes before everything new of its key. One row for each id, the oldest. */
  async replay(destination: string, group: string, ids: readonly string[]): Promise<number> {
    const rows = await this.#query(
      destination,
      `update ${this.#job} set state = 'retry', retry_count = 0, started_on = null, completed_on = null, output = null, start_after = now(),
         data = (data - 'tries') || jsonb_build_object('replays', coalesce((data->>'replays')::int, 0) + 1)
       where name = $1 and state = 'failed' and id in (${oldestOf(this.#job)})
       returning pg_notify($3, $1)`,
      [queueName(destination, group), ids, this.#channel],
    )
    return rows.length
  }

  /** A row that is gone blocks no key. */
  async discard(destination: string, group: string, ids: readonly string[]): Promise<number> {
    const rows = await this.#query(
      destination,
      `delete from ${this.#job} where name = $1 and state = 'failed' and id in (${oldestOf(this.#job)}) returning pg_notify($3, $1)`,
      [queueName(destination, group), ids, this.#channel],
    )
    return rows.length
  }

  /** Takes the dead letter out of its key's place. */
  async release(destination: string, group: string, key: string): Promise<void> {
    const rows = await this.#query(
      destination,
      `update ${this.#job} set singleton_key = 'm:' || id where name = $1 and state = 'failed' and singleton_key = 'k:' || $2
       returning pg_notify($3, $1)`,
      [queueName(destination, group), key, this.#channel],
    )
    if (rows.length === 0) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
  }

  async #query<R>(destination: string, text: string, values: readonly unknown[]): Promise<R[]> {
    try {
      await this.#boss.started()
      return (await this.#connections.query<R>(text, values)).rows
    } catch (error) {
      throw typed(error, destination)
    }
  }
}
