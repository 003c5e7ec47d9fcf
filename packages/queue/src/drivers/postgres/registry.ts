import { pause } from '@platform/kernel'
import type { Subscription } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { refuseDeletion } from '../../group-deletion.ts'
import type { Boss } from './boss.ts'
import { queueOptions } from './boss.ts'
import type { Connections, Queryable } from './connection.ts'
import { queueName, tablesOf, type Tables } from './tables.ts'

export interface Route {
  destination: string
  queue: string
  ordered: boolean
}

/** A broadcast subscription lives this long without renewal: so long a disconnected process still gets what it missed. */
export const broadcastLeaseSeconds: number = 60

/** Counting a long queue again and again would cost more than it tells. */
const mostCounted = 100_000
/** How long somebody who removes a group may take before others finish it. */
const removalMs = 5_000
const removalLookMs = 50

/** The subscriptions, kept in the database so that every publisher sees them. */
export class Registry {
  readonly #connections: Connections
  readonly #boss: Boss
  readonly #tables: Tables

  constructor(connections: Connections, boss: Boss, schema: string) {
    this.#connections = connections
    this.#boss = boss
    this.#tables = tablesOf(schema)
  }

  async declare({ destination, group, ordered, broadcast, expiresAfterMs }: Subscription): Promise<string> {
    const boss = await this.#boss.started()
    const queue = queueName(destination, group)
    await this.#assertOrder(destination, group, ordered)
    await this.#keep(queue)
    // First the queue, then the route to it: a publisher never finds a route that leads nowhere.
    await boss.createQueue(queue, { ...queueOptions, policy: ordered ? 'key_strict_fifo' : 'standard' })
    await this.#connections.query(
      `insert into ${this.#tables.subscription} (destination, group_name, queue, ordered, lease_until, expires_after_ms)
       values ($1, $2, $3, $4, case when $5 then now() + interval '${broadcastLeaseSeconds} seconds' end, $6)
       on conflict (destination, group_name) do update set lease_until = excluded.lease_until, expires_after_ms = excluded.expires_after_ms`,
      [destination, group, queue, ordered, broadcast, expiresAfterMs ?? null],
    )
    await this.#assertOrder(destination, group, ordered)
    return queue
  }

  async routes(tx: Queryable, destinations: readonly string[]): Promise<Route[]> {
    const { rows } = await tx.query<Route>(
      `select destination, queue, ordered from ${this.#tables.subscription}
       where destination = any($1) and (lease_until is null or lease_until > now())`,
      [destinations],
    )
    return rows
  }

  /** False when the lease had run out and somebody has swept the subscription away. */
  async renew(queue: string): Promise<boolean> {
    const { rows } = await this.#connections.query(
      `update ${this.#tables.subscription} set lease_until = now() + interval '${broadcastLeaseSeconds} seconds'
       where queue = $1 and lease_until > '-infinity' returning queue`,
      [queue],
    )
    return rows.length > 0
  }

  async deleteGroup(destination: string, group: string, discard: boolean, members: (queue: string) => Promise<number>): Promise<boolean> {
    await this.#boss.started()
    const queue = queueName(destination, group)
    const { rows } = await this.#connections.query<{ messages: number; held: boolean }>(
      `select (select count(*)::int from ${this.#tables.job} where name = $1) as messages,
         exists (select from ${this.#tables.job} where name = $1 and state = 'active') as held
       from ${this.#tables.subscription} where queue = $1`,
      [queue],
    )
    if (rows[0] === undefined) return false
    const { messages, held } = rows[0]
    refuseDeletion(destination, group, { messages, members: Math.max(await members(queue), held ? 1 : 0), discard })
    await this.remove(queue)
    return true
  }

  /** What no member has; from `mostCounted` on it is not counted further. */
  async depth(queue: string): Promise<number> {
    const { rows } = await this.#connections.query<{ waiting: number }>(
      `select count(*)::int as waiting from
         (select 1 from ${this.#tables.job} where name = $1 and state < 'active' limit ${mostCounted}) as some`,
      [queue],
    )
    return rows[0]?.waiting ?? 0
  }

  async remove(queue: string): Promise<void> {
    await this.#connections.query(`update ${this.#tables.subscription} set lease_until = '-infinity' where queue = $1`, [queue])
    await this.finishRemoval(queue)
  }

  /**
   * Takes away a queue that no route leads to any more, and at last the word of it: who dies in between leaves that to others. False when somebody
   * else is about it, or somebody has subscribed anew.
   */
  async finishRemoval(queue: string): Promise<boolean> {
    const boss = await this.#boss.started()
    return this.#connections.transaction(
      async (tx) => {
        const { rows } = await tx.query(
          `select from ${this.#tables.subscription} where queue = $1 and lease_until = '-infinity' for update skip locked`,
          [queue],
        )
        if (rows.length === 0) return false
        await boss.deleteQueue(queue)
        await tx.query(`delete from ${this.#tables.subscription} where queue = $1`, [queue])
        await tx.query(`delete from ${this.#tables.member} where queue = $1`, [queue])
        return true
      },
      { committing: false },
    )
  }

  /** Takes away what crashed processes left; a lease that has just run out is given some time, since its owner may be late. */
  async sweep(): Promise<void> {
    await this.#connections.query(
      `update ${this.#tables.subscription} set lease_until = '-infinity'
       where lease_until < now() - interval '${broadcastLeaseSeconds} seconds' and lease_until > '-infinity'`,
    )
    const { rows } = await this.#connections.query<{ queue: string }>(
      `select queue from ${this.#tables.subscription} where lease_until = '-infinity'`,
    )
    for (const { queue } of rows) await this.finishRemoval(queue)
  }

  /** Somebody is here: its time without members begins anew. One that is being removed is gone first. */
  async #keep(queue: string): Promise<void> {
    const startedAt = performance.now()
    for (;;) {
      await this.#connections.query(
        `update ${this.#tables.subscription} set absent_ms = 0, looked_at = now()
         where queue = $1 and (lease_until is null or lease_until > '-infinity')`,
        [queue],
      )
      const { rows } = await this.#connections.query(
        `select from ${this.#tables.subscription} where queue = $1 and lease_until = '-infinity'`,
        [queue],
      )
      if (rows.length === 0) return
      if (performance.now() - startedAt > removalMs) await this.finishRemoval(queue)
      await pause(removalLookMs)
    }
  }

  async #assertOrder(destination: string, group: string, ordered: boolean): Promise<void> {
    const { rows } = await this.#connections.query<{ ordered: boolean }>(
      `select ordered from ${this.#tables.subscription}
       where destination = $1 and group_name = $2 and (lease_until is null or lease_until > '-infinity')`,
      [destination, group],
    )
    if (rows[0] === undefined || rows[0].ordered === ordered) return
    throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group} is ${ordered ? 'not ' : ''}ordered` })
  }
}
