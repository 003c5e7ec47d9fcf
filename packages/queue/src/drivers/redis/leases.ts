import { backoffMs, pause, upkeep } from '@platform/kernel'
import { QueueError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import { acknowledge, bury, leave, noteAlone, postpone, release, renew } from './delivery-scripts.ts'
import { faultOf, plain } from './faults.ts'
import type { Argument, Script } from './script.ts'
import { leaseMs } from './structure.ts'

/** A delivery as `claim` told of it. */
export interface Held {
  /** Of the stream. */
  readonly entry: string
  /** Of the message in its group. */
  readonly number: string
  /** How often the entry was delivered: what makes this delivery ours and no later one. */
  readonly deliveries: number
  readonly begun: number
  readonly shown: number
  readonly suspect: boolean
  readonly lost: AbortController
  /** Its handler has been begun. */
  tried: boolean
  /** When the server last confirmed that it is ours. */
  renewedAt: number
}

interface PendingAck {
  readonly held: Held
  resolve(): void
  reject(error: unknown): void
}

const renewIntervalMs = leaseMs / 4
const maxAcks = 200

/**
 * What this member holds in one group. Every script names the delivery: once another member has the message, it changes nothing and the caller
 * hears ERR_QUEUE_LEASE_LOST.
 */
export class Leases {
  readonly #connection: Connection
  readonly #base: string
  readonly #group: string
  readonly #member: string
  readonly #held = new Set<Held>()
  #acks: PendingAck[] = []
  #flushing = false
  #endRenewals: (() => void) | undefined

  constructor(connection: Connection, { base, group, member }: { base: string; group: string; member: string }) {
    this.#connection = connection
    this.#base = base
    this.#group = group
    this.#member = member
  }

  /** The entries that are ours. */
  get entries(): string[] {
    return [...this.#held].map(({ entry }) => entry)
  }

  hold(delivery: Omit<Held, 'lost' | 'tried' | 'renewedAt'>, claimedAt: number): Held {
    const held = { ...delivery, lost: new AbortController(), tried: false, renewedAt: claimedAt }
    this.#held.add(held)
    this.#endRenewals ??= upkeep(() => this.#renew(), renewIntervalMs)
    return held
  }

  /** Acknowledgements that arrive while a script is under way share the next one. */
  ack(held: Held): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#acks.push({ held, resolve, reject })
      if (!this.#flushing) void this.#flushAcks()
    })
  }

  retry(held: Held, delayMs: number): Promise<void> {
    return this.#settle(held, postpone, held.begun + 1, held.shown + 1, delayMs)
  }

  bury(held: Held, id: string, reason: string): Promise<void> {
    return this.#settle(held, bury, id, JSON.stringify({ reason, attempt: held.shown + 1 }))
  }

  /** Before a suspect runs alone: if the process ends in it as well, the next one knows by what. */
  async tryAlone(held: Held): Promise<void> {
    const done = await this.#run(noteAlone, [held], ...deliveryOf(held), held.begun + 1, held.shown + 1)
    if (done !== 1) throw lostError(held)
  }

  /** No try is counted. A suspect that was tried has outlived it, and is none any more. */
  release(held: Held): Promise<void> {
    return this.#settle(held, release, held.begun, held.shown, isSuspectStill(held))
  }

  /** Gives back what is still held, and leaves the group; tries that did begin are counted. */
  async close(): Promise<void> {
    this.#endRenewals?.()
    const rest = [...this.#held]
    this.#held.clear()
    for (const held of rest) held.lost.abort(lostError(held))
    const run = (script: Script, ...args: Argument[]): Promise<unknown> =>
      this.#connection.run(script, this.#base, this.#group, this.#member, ...args)
    // Where this fails, the leases run out by themselves.
    await Promise.allSettled(
      rest.map((held) => {
        const tries = held.tried ? 1 : 0
        return run(release, ...deliveryOf(held), held.begun + tries, held.shown + tries, isSuspectStill(held))
      }),
    )
    await run(leave).catch(() => {})
  }

  async #flushAcks(): Promise<void> {
    this.#flushing = true
    await Promise.resolve()
    while (this.#acks.length > 0) {
      const batch = this.#acks.splice(0, maxAcks)
      const held = batch.map((ack) => ack.held)
      try {
        const done = (await this.#run(acknowledge, held, ...held.flatMap(deliveryOf))) as number[]
        for (const [index, ack] of batch.entries()) {
          this.#held.delete(ack.held)
          if (done[index] === 1) ack.resolve()
          else ack.reject(lostError(ack.held))
        }
      } catch (error) {
        for (const ack of batch) {
          this.#held.delete(ack.held)
          ack.reject(error)
        }
      }
    }
    this.#flushing = false
  }

  async #settle(held: Held, script: Script, ...args: Argument[]): Promise<void> {
    try {
      if ((await this.#run(script, [held], ...deliveryOf(held), ...args)) !== 1) throw lostError(held)
    } finally {
      this.#held.delete(held)
    }
  }

  /** Through an outage, for as long as the leases can still be ours: repeating a settlement is harmless, a redelivery is work done twice. */
  async #run(script: Script, held: readonly Held[], ...args: Argument[]): Promise<unknown> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await this.#connection.run(script, this.#base, this.#group, this.#member, ...args)
      } catch (error) {
        if (faultOf(error) === 'refused' || held.every(({ lost }) => lost.signal.aborted)) throw plain(error)
        await pause(20 + backoffMs(failures, 50, 1_000))
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
    const args = asked.flatMap(({ entry, deliveries }) => [entry, deliveries])
    try {
      const kept = (await this.#connection.run(renew, this.#base, this.#group, this.#member, ...args)) as number[]
      for (const [index, held] of asked.entries()) {
        if (kept[index] === 1) held.renewedAt = startedAt
        else if (this.#held.has(held)) held.lost.abort(lostError(held))
      }
    } catch (error) {
      for (const held of asked) if (performance.now() - held.renewedAt > leaseMs) held.lost.abort(lostError(held))
      throw error
    }
  }
}

function deliveryOf({ entry, number, deliveries }: Held): Argument[] {
  return [entry, number, deliveries]
}

function isSuspectStill({ suspect, tried }: Held): number {
  return suspect && !tried ? 1 : 0
}

function lostError({ number }: Held): QueueError {
  return new QueueError('ERR_QUEUE_LEASE_LOST', { detail: `message ${number}` })
}
