import { backoffMs, pause, upkeep } from '@platform/kernel'
import { QueueError } from '../../errors.ts'
import { leaseSeconds } from './boss.ts'
import { isConflict, isConnectionLoss, type Connections } from './connection.ts'

export interface Held {
  readonly id: string
  readonly retryCount: number
  readonly tries: Tries
  readonly lost: AbortController
  /** When the database last confirmed that the row is ours. */
  renewedAt: number
}

interface PendingAck {
  readonly held: Held
  resolve(): void
  reject(error: unknown): void
}

const renewIntervalMs = 2_500
const leaseMs = leaseSeconds * 1_000
/** A renewal on a connection that is dead is given up in time for another one. */
const renewTimeoutMs = leaseMs / 2

/**
 * The rows that this process holds in one queue. Every statement names the attempt it was fetched at: once another process has the row,
 * it changes nothing and the caller hears ERR_QUEUE_LEASE_LOST.
 */
export class Leases {
  readonly #connections: Connections
  readonly #job: string
  readonly #queue: string
  readonly #onFreed: () => void
  readonly #held = new Set<Held>()
  #acks: PendingAck[] = []
  #flushing = false
  #endRenewals: (() => void) | undefined

  constructor(connections: Connections, schema: string, queue: string, onFreed: () => void) {
    this.#connections = connections
    this.#job = `${schema}.job`
    this.#queue = queue
    this.#onFreed = onFreed
  }

  get size(): number {
    return this.#held.size
  }

  hold(id: string, retryCount: number, tries: Tries, fetchedAt: number): Held {
    const held = { id, retryCount, tries, lost: new AbortController(), renewedAt: fetchedAt }
    this.#held.add(held)
    this.#endRenewals ??= upkeep(() => this.#renew(), renewIntervalMs)
    return held
  }

  /** Acknowledgements that arrive while a statement is under way share the next one. */
  ack(held: Held): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#acks.push({ held, resolve, reject })
      if (!this.#flushing) void this.#flushAcks()
    })
  }

  retry(held: Held, delayMs: number): Promise<void> {
    const { counted, shown } = held.tries
    return this.#settle(held, `state = 'retry', start_after = now() + $4 * interval '1 millisecond', ${remember('$5', '$6', false)}`, [
      delayMs,
      counted + 1,
      shown + 1,
    ])
  }

  bury(held: Held, reason: string): Promise<void> {
    return this.#settle(
      held,
      `state = 'failed', completed_on = now(), output = jsonb_build_object('reason', $4::text, 'attempt', $5::int)`,
      [reason, held.tries.shown + 1],
    )
  }

  /** Before a message whose earlier try did not end runs alone: if the process ends in it as well, the next one knows by what. */
  async tryAlone(held: Held): Promise<void> {
    const { counted, shown } = held.tries
    const { rows } = await this.#connections.query(`update ${this.#job} set ${remember('$4', '$5', true)} where ${fence} returning id`, [
      ...this.#fenceValues([held]),
      counted + 1,
      shown + 1,
    ])
    if (rows.length === 0) throw lostError(held)
  }

  /** Without `started_on`, the next fetch counts no attempt. `retry` keeps an ordered key's place. */
  release(held: Held): Promise<void> {
    return this.#settle(held, `state = 'retry', start_after = now(), started_on = null`, [])
  }

  /** Gives back what is still held; these attempts did begin and are counted. */
  async close(): Promise<void> {
    this.#endRenewals?.()
    const rest = [...this.#held]
    this.#held.clear()
    for (const held of rest) held.lost.abort(lostError(held))
    if (rest.length === 0) return
    await this.#connections
      .query(
        `update ${this.#job} set state = 'retry', start_after = now(),
           ${remember("coalesce((data->'tries'->>'counted')::int, 0)", "coalesce((data->'tries'->>'shown')::int, 0) + 1", false)} where ${fence}`,
        this.#fenceValues(rest),
      )
      // The leases run out by themselves.
      .catch(() => {})
  }

  async #flushAcks(): Promise<void> {
    this.#flushing = true
    await Promise.resolve()
    while (this.#acks.length > 0) {
      const batch = this.#acks.splice(0, 1_000)
      const held = batch.map((ack) => ack.held)
      try {
        const { rows } = await this.#persistently(held, () =>
          this.#connections.query<{ id: string }>(`delete from ${this.#job} where ${fence} returning id`, this.#fenceValues(held)),
        )
        const done = new Set(rows.map(({ id }) => id))
        for (const ack of batch) {
          this.#held.delete(ack.held)
          if (done.has(ack.held.id)) ack.resolve()
          else ack.reject(lostError(ack.held))
        }
      } catch (error) {
        for (const ack of batch) {
          this.#held.delete(ack.held)
          ack.reject(error)
        }
      }
      this.#onFreed()
    }
    this.#flushing = false
  }

  async #settle(held: Held, change: string, values: readonly unknown[]): Promise<void> {
    try {
      const { rows } = await this.#persistently([held], () =>
        this.#connections.query(`update ${this.#job} set ${change} where ${fence} returning id`, [...this.#fenceValues([held]), ...values]),
      )
      if (rows.length === 0) throw lostError(held)
    } finally {
      this.#held.delete(held)
      this.#onFreed()
    }
  }

  /** Through an outage, for as long as the leases can still be ours: repeating a settlement is harmless, a redelivery is work done twice. */
  async #persistently<T>(held: readonly Held[], run: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await run()
      } catch (error) {
        const over = held.every(({ lost }) => lost.signal.aborted)
        if (over || !(isConnectionLoss(error) || isConflict(error))) throw error
        await pause(backoffMs(attempt, 50, 1_000))
      }
    }
  }

  async #renew(): Promise<void> {
    if (this.#held.size === 0) {
      this.#endRenewals?.()
      this.#endRenewals = undefined
      return
    }
    const asked = [...this.#held]
    const startedAt = performance.now()
    try {
      const { rows } = await this.#connections.query<{ id: string }>(
        `update ${this.#job} set heartbeat_on = now() where ${fence} returning id`,
        this.#fenceValues(asked),
        renewTimeoutMs,
      )
      const ours = new Set(rows.map(({ id }) => id))
      for (const held of asked) {
        if (ours.has(held.id)) held.renewedAt = startedAt
        else if (this.#held.has(held)) held.lost.abort(lostError(held))
      }
    } catch (error) {
      for (const held of asked) if (performance.now() - held.renewedAt > leaseMs) held.lost.abort(lostError(held))
      throw error
    }
  }

  #fenceValues(held: readonly Held[]): unknown[] {
    return [this.#queue, held.map(({ id }) => id), held.map(({ id, retryCount }) => `${id}:${retryCount}`)]
  }
}

/** Tries are remembered for the count that the next fetch will find, so that a fetch after a crash finds another. In the message: pg-boss overwrites the output. */
function remember(counted: string, shown: string, alone: boolean): string {
  return `data = jsonb_set(data, '{tries}', jsonb_build_object('count', retry_count + 1, 'counted', ${counted}::int, 'shown', ${shown}::int, 'alone', ${alone}))`
}

export interface Tries {
  readonly counted: number
  readonly shown: number
}

/** What earlier tries say, and whether one of them did not end. */
export function triesOf(data: unknown, retryCount: number): { tries: Tries; suspect: boolean } {
  const { count, counted, shown, alone } = ((data as { tries?: unknown } | null)?.tries ?? {}) as Partial<Record<string, unknown>>
  const number = (value: unknown): number => (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0)
  const unknown = Math.max(0, retryCount - number(count))
  return { tries: { counted: number(counted), shown: number(shown) + unknown }, suspect: unknown > 0 || alone === true }
}

const fence = `name = $1 and id = any($2::uuid[]) and state = 'active' and (id::text || ':' || retry_count::text) = any($3::text[])`

function lostError(held: Held): QueueError {
  return new QueueError('ERR_QUEUE_LEASE_LOST', { detail: `row ${held.id}` })
}
