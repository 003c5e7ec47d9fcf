import type { Subscription } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { refuseDeletion } from '../../group-deletion.ts'
import type { Boss } from './boss.ts'
import { queueOptions } from './boss.ts'
import type { Connections, Queryable } from './connection.ts'

export interface Route {
  destination: string
  queue: string
  ordered: boolean
}

/** A broadcast subscription lives this long without renewal: so long a disconnected process still gets what it missed. */
export const broadcastLeaseSeconds: number = 60

/** Which queues a destination fans out to. One statement, so that it is one implicit transaction that also holds the lock. */
export function registryTable(schema: string): string {
  return `
    do $$ begin
      perform pg_advisory_xact_lock(hashtext('${schema}.platform_subscription'));
      create table if not exists ${schema}.platform_subscription (
        destination text not null,
        group_name text not null,
        queue text not null unique,
        ordered boolean not null,
        lease_until timestamptz,
        primary key (destination, group_name)
      );
    end $$`
}

/** Counting a long queue again and again would cost more than it tells. */
const mostCounted = 100_000

export function queueName(destination: string, group: string): string {
  return `${destination}/${group}`
}

/** The subscriptions, kept in the database so that every publisher sees them. */
export class Registry {
  readonly #connections: Connections
  readonly #boss: Boss
  readonly #table: string
  readonly #jobs: string

  constructor(connections: Connections, boss: Boss, schema: string) {
    this.#connections = connections
    this.#boss = boss
    this.#table = `${schema}.platform_subscription`
    this.#jobs = `${schema}.job`
  }

  async declare({ destination, group, ordered, broadcast }: Subscription): Promise<string> {
    const boss = await this.#boss.started()
    const queue = queueName(destination, group)
    await this.#assertOrder(destination, group, ordered)
    // First the queue, then the route to it: a publisher never finds a route that leads nowhere.
    await boss.createQueue(queue, { ...queueOptions, policy: ordered ? 'key_strict_fifo' : 'standard' })
    await this.#connections.query(
      `insert into ${this.#table} (destination, group_name, queue, ordered, lease_until)
       values ($1, $2, $3, $4, case when $5 then now() + interval '${broadcastLeaseSeconds} seconds' end)
       on conflict (destination, group_name) do update set lease_until = excluded.lease_until`,
      [destination, group, queue, ordered, broadcast],
    )
    await this.#assertOrder(destination, group, ordered)
    return queue
  }

  async routes(tx: Queryable, destinations: readonly string[]): Promise<Route[]> {
    const { rows } = await tx.query<Route>(
      `select destination, queue, ordered from ${this.#table}
       where destination = any($1) and (lease_until is null or lease_until > now())`,
      [destinations],
    )
    return rows
  }

  /** False when the lease had run out and somebody has swept the subscription away. */
  async renew(queue: string): Promise<boolean> {
    const { rows } = await this.#connections.query(
      `update ${this.#table} set lease_until = now() + interval '${broadcastLeaseSeconds} seconds' where queue = $1 returning queue`,
      [queue],
    )
    return rows.length > 0
  }

  async deleteGroup(destination: string, group: string, discard: boolean): Promise<boolean> {
    await this.#boss.started()
    const queue = queueName(destination, group)
    const { rows } = await this.#connections.query<{ messages: number; members: number }>(
      `select (select count(*)::int from ${this.#jobs} where name = $1) as messages,
         (select count(*)::int from ${this.#jobs} where name = $1 and state = 'active') as members
       from ${this.#table} where queue = $1`,
      [queue],
    )
    if (rows[0] === undefined) return false
    refuseDeletion(destination, group, { ...rows[0], discard })
    await this.remove(queue)
    return true
  }

  /** What no member has; from `mostCounted` on it is not counted further. */
  async depth(queue: string): Promise<number> {
    const { rows } = await this.#connections.query<{ waiting: number }>(
      `select count(*)::int as waiting from
         (select 1 from ${this.#jobs} where name = $1 and state < 'active' limit ${mostCounted}) as some`,
      [queue],
    )
    return rows[0]?.waiting ?? 0
  }

  async remove(queue: string): Promise<void> {
    await this.#connections.query(`delete from ${this.#table} where queue = $1`, [queue])
    await this.#boss.running?.deleteQueue(queue)
  }

  /** Takes away what crashed processes left; a lease that has just run out is given some time, since its owner may be late. */
  async sweep(): Promise<void> {
    const { rows } = await this.#connections.query<{ queue: string }>(
      `delete from ${this.#table} where lease_until < now() - interval '${broadcastLeaseSeconds} seconds' returning queue`,
    )
    for (const { queue } of rows) await this.#boss.running?.deleteQueue(queue)
  }

  async #assertOrder(destination: string, group: string, ordered: boolean): Promise<void> {
    const { rows } = await this.#connections.query<{ ordered: boolean }>(
      `select ordered from ${this.#table} where destination = $1 and group_name = $2`,
      [destination, group],
    )
    if (rows[0] === undefined || rows[0].ordered === ordered) return
    throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group} is ${ordered ? 'not ' : ''}ordered` })
  }
}
