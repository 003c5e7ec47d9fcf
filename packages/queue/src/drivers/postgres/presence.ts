import { backgroundPause, settlesWithin } from '@platform/kernel'
import type { DriverContext, Subscription } from '../../driver.ts'
import { looksBeforeExpiry } from '../../group-expiry.ts'
import { attribute, createRestoreCounter } from '../../instrumentation.ts'
import type { LoggerLike } from '../../shapes.ts'
import { uuidv7 } from '../../uuid.ts'
import type { Boss } from './boss.ts'
import type { Connections } from './connection.ts'
import type { Registry } from './registry.ts'
import { tablesOf, type Tables } from './tables.ts'

const renewMs = 5_000
/** A member that was not seen for so long is gone. */
const goneMs = 3 * renewMs
/** Looks for groups without members; more often where such a group is not to stay for long. */
const [shortestLookMs, longestLookMs] = [1_000, 60_000]
const closeTimeoutMs = 2_000

interface Look {
  queue: string
  destination: string
  group_name: string
  expired: boolean
}

/**
 * Members tell the database that they are there, and every process looks now and then for groups where nobody is. The time without members is
 * summed up in the table, by the database's clock: `looksBeforeExpiry` says how.
 */
export class Presence {
  readonly #connections: Connections
  readonly #boss: Boss
  readonly #registry: Registry
  readonly #tables: Tables
  readonly #logger: LoggerLike
  readonly #groupExpired: DriverContext['groupExpired']
  readonly #members = new Map<string, { readonly queue: string; readonly subscription: Subscription }>()
  readonly #restored = createRestoreCounter('postgresql')
  readonly #stop = new AbortController()
  readonly #dueAt = { renewal: 0, look: 0 }
  #loop: Promise<void> | undefined

  constructor(parts: { connections: Connections; boss: Boss; registry: Registry; schema: string; context: DriverContext }) {
    this.#connections = parts.connections
    this.#boss = parts.boss
    this.#registry = parts.registry
    this.#tables = tablesOf(parts.schema)
    this.#logger = parts.context.logger
    this.#groupExpired = parts.context.groupExpired
  }

  /** From the first publish or subscription on this process looks for groups that are gone. */
  begin(): void {
    this.#loop ??= this.#run()
  }

  /** Resolves to what ends the membership. */
  async join(queue: string, subscription: Subscription): Promise<() => Promise<void>> {
    const member = uuidv7()
    await this.#appear(queue, member)
    this.#members.set(member, { queue, subscription })
    // Its group may be one that is looked for more often.
    this.#dueAt.look = 0
    return async () => {
      this.#members.delete(member)
      // Where this fails it is gone after a while.
      await this.#connections.query(`delete from ${this.#tables.member} where queue = $1 and member = $2`, [queue, member]).catch(() => {})
    }
  }

  async count(queue: string): Promise<number> {
    const { rows } = await this.#connections.query<{ members: number }>(
      `select count(*)::int as members from ${this.#tables.member} where queue = $1 and seen_at > ${ago(goneMs)}`,
      [queue],
    )
    return rows[0]?.members ?? 0
  }

  async close(): Promise<void> {
    this.#stop.abort()
    if (this.#loop !== undefined) await settlesWithin(this.#loop, closeTimeoutMs)
  }

  async #appear(queue: string, member: string): Promise<void> {
    await this.#connections.query(
      `insert into ${this.#tables.member} (queue, member) values ($1, $2) on conflict (queue, member) do update set seen_at = now()`,
      [queue, member],
    )
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const dueAt = this.#dueAt
    while (!signal.aborted) {
      const now = performance.now()
      try {
        if (now >= dueAt.renewal && this.#members.size > 0) {
          await this.#renew()
          dueAt.renewal = now + renewMs
        }
        if (now >= dueAt.look && this.#boss.running !== undefined) dueAt.look = now + (await this.#look())
      } catch (error) {
        if (!signal.aborted) this.#logger.debug({ err: error }, 'members could not be told of or looked for; trying again')
      }
      await backgroundPause(shortestLookMs * (0.8 + Math.random() * 0.4), signal)
    }
  }

  /** A group that is not there any more, because this process was cut off for so long or somebody took it away, is made anew. */
  async #renew(): Promise<void> {
    const members = [...this.#members.keys()]
    const { rows } = await this.#connections.query<{ member: string }>(
      `update ${this.#tables.member} as m set seen_at = now() from ${this.#tables.subscription} as s
       where m.member = any($1::uuid[]) and s.queue = m.queue returning m.member`,
      [members],
    )
    const there = new Set(rows.map(({ member }) => member))
    for (const member of members) {
      const known = this.#members.get(member)
      if (known === undefined || there.has(member)) continue
      const { destination, group } = known.subscription
      await this.#registry.declare(known.subscription)
      if (this.#members.has(member)) await this.#appear(known.queue, member)
      this.#logger.warn({ destination, group }, 'the group was not there any more and was made anew; what it held is lost to it')
      this.#restored.add(1, { [attribute.destination]: destination })
    }
  }

  /** Resolves to the time until the next look. */
  async #look(): Promise<number> {
    const { subscription, member, job } = this.#tables
    await this.#connections.query(`delete from ${member} where seen_at < ${ago(4 * goneMs)}`)
    const { rows } = await this.#connections.query<Look>(
      `update ${subscription} as s set looked_at = now(),
         absent_ms = case when exists (select from ${member} as m where m.queue = s.queue and m.seen_at > ${ago(goneMs)}) then 0
           else absent_ms + least(extract(epoch from now() - looked_at) * 1000, expires_after_ms / ${looksBeforeExpiry}) end
       where expires_after_ms is not null and lease_until is null and looked_at < ${ago(shortestLookMs / 2)}
       returning queue, destination, group_name, absent_ms >= expires_after_ms as expired`,
    )
    for (const { queue, destination, group_name: group, expired } of rows) {
      if (!expired) continue
      const condemned = await this.#connections.query<{ messages: number }>(
        `update ${subscription} set lease_until = '-infinity' where queue = $1 and lease_until is null and absent_ms >= expires_after_ms
         returning (select count(*)::int from ${job} where name = $1) as messages`,
        [queue],
      )
      const [found] = condemned.rows
      if (found === undefined) continue
      await this.#registry.finishRemoval(queue)
      this.#groupExpired({ destination, group, messages: found.messages })
    }
    await this.#registry.sweep()
    const { rows: shortest } = await this.#connections.query<{ ms: number | null }>(
      `select min(expires_after_ms)::float8 as ms from ${subscription}`,
    )
    const ms = shortest[0]?.ms ?? Number.POSITIVE_INFINITY
    return Math.min(longestLookMs, Math.max(shortestLookMs, ms / (2 * looksBeforeExpiry)))
  }
}

function ago(ms: number): string {
  return `now() - interval '${ms} milliseconds'`
}
