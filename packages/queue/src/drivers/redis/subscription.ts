import { backoffMs } from '@platform/kernel'
import type { DriverSubscription, Lease, Receive, Subscription } from '../../driver.ts'
import type { LoggerLike } from '../../shapes.ts'
import type { Connection } from './connection.ts'
import { claim, handIn } from './delivery-scripts.ts'
import { plain } from './faults.ts'
import { Leases, type Held } from './leases.ts'
import { parseRecord } from './record.ts'
import { depth, endBroadcast } from './registry-scripts.ts'
import { wakeChannel } from './structure.ts'
import type { WakeCalls } from './wake-calls.ts'

export interface SubscriptionParts {
  readonly connection: Connection
  readonly wakeCalls: WakeCalls
  readonly logger: LoggerLike
  /** The destination's part of the keys. */
  readonly base: string
  alone<T>(work: () => Promise<T>): Promise<T>
  /** Makes the group again that is not there any more. */
  restore(): Promise<void>
}

type Claimed = [entry: string, number: string, deliveries: number, begun: number, shown: number, alone: number, record: string]

/** Without a call a member looks by itself so often. */
const pollMs = 1_000
const maxBatch = 100

/**
 * Claims into free slots: at once while there is work, otherwise when a call, a delay that is over or the poll says so. Nothing is claimed
 * ahead of its handler, so that what is given back at a close is only what was running.
 */
export class RedisSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #subscription: Subscription
  readonly #receive: Receive
  readonly #group: string
  readonly #member: string
  readonly #leases: Leases
  readonly #unsubscribe: () => void
  readonly #loop: Promise<void>
  #running = 0
  #stopped = false
  #failing = false
  #woken = false
  /** The last look left work behind, or none was possible. */
  #more = false
  #wake: (() => void) | undefined

  constructor(subscription: Subscription, member: string, receive: Receive, parts: SubscriptionParts) {
    this.#parts = parts
    this.#subscription = subscription
    this.#receive = receive
    this.#member = member
    this.#group = encodeURIComponent(subscription.group)
    this.#leases = new Leases(parts.connection, { base: parts.base, group: this.#group, member: this.#member })
    this.#unsubscribe = parts.wakeCalls.on(wakeChannel(parts.base, subscription.group), () => this.#hint())
    this.#loop = this.#run()
  }

  trouble(): string | undefined {
    return this.#failing ? 'the group cannot be read; retrying' : undefined
  }

  async depth(): Promise<number> {
    return (await this.#parts.connection.run(depth, this.#parts.base, this.#group)) as number
  }

  async quiesce(): Promise<void> {
    this.#stopped = true
    this.#hint()
    await this.#loop
  }

  async close(): Promise<void> {
    await this.quiesce()
    this.#unsubscribe()
    await this.#leases.close()
    if (!this.#subscription.broadcast) return
    // Swept later by publishers when this fails.
    await this.#parts.connection.run(endBroadcast, this.#parts.base, this.#group).catch(() => {})
  }

  async #run(): Promise<void> {
    const { concurrency } = this.#subscription
    // Waiting for a quarter of the slots turns many small claims into few larger ones.
    const enough = Math.max(1, Math.floor(concurrency / 4))
    let failures = 0
    while (!this.#stopped) {
      const free = concurrency - this.#running
      // Cleared before looking, so that what is told meanwhile is not slept through.
      this.#woken = false
      if (free < enough) {
        this.#more = true
        await this.#sleep(60_000)
        continue
      }
      const wanted = Math.min(free, maxBatch)
      try {
        if (failures > 0) await this.#handIn()
        const { got, dueMs } = await this.#claim(wanted)
        this.#more = got === wanted
        failures = 0
        this.#failing = false
        if (got < wanted) await this.#sleep(dueMs < 0 ? pollMs : Math.min(pollMs, dueMs + 1))
      } catch (error) {
        failures += 1
        this.#failing = true
        if (failures === 1)
          this.#parts.logger.warn({ err: plain(error), group: this.#subscription.group }, 'group cannot be read; retrying')
        await this.#sleep(20 + backoffMs(failures, 100, 2_000), true)
      }
    }
  }

  /** The answer to a claim may have been lost: what it brought goes back, and costs nothing. */
  async #handIn(): Promise<void> {
    await this.#parts.connection.run(handIn, this.#parts.base, this.#group, this.#member, ...this.#leases.entries)
  }

  async #claim(wanted: number): Promise<{ got: number; dueMs: number }> {
    const claimedAt = performance.now()
    const answer = (await this.#parts.connection.run(claim, this.#parts.base, this.#group, this.#member, wanted)) as
      | [deliveries: Claimed[], dueMs: number]
      | null
    if (answer === null) {
      await this.#parts.restore()
      return { got: 0, dueMs: 0 }
    }
    const [deliveries, dueMs] = answer
    for (const claimed of deliveries) this.#deliver(claimed, claimedAt)
    return { got: deliveries.length, dueMs }
  }

  #deliver([entry, number, deliveries, begun, shown, alone, record]: Claimed, claimedAt: number): void {
    const suspect = alone === 1
    const held = this.#leases.hold({ entry, number, deliveries, begun, shown, suspect }, claimedAt)
    if (this.#stopped) return void this.#leases.release(held).catch(() => {})
    const envelope = parseRecord(record)
    const lease: Lease = {
      envelope,
      attempt: shown + 1,
      begun,
      alone: suspect,
      signal: held.lost.signal,
      ack: () => this.#leases.ack(held),
      retry: (delayMs) => this.#leases.retry(held, delayMs),
      deadLetter: (reason) => this.#leases.bury(held, envelope?.id ?? number, reason),
      release: () => this.#leases.release(held),
    }
    this.#running += 1
    const running = suspect ? this.#parts.alone(() => this.#tryAlone(held, lease)) : this.#begin(held, lease)
    void running.finally(() => {
      this.#running -= 1
      if (this.#more || this.#stopped) this.#hint()
    })
  }

  /** Not begun when the try cannot be noted or the consumer has stopped: the message comes again. */
  async #tryAlone(held: Held, lease: Lease): Promise<void> {
    try {
      if (this.#stopped) return await this.#leases.release(held)
      await this.#leases.tryAlone(held)
    } catch (error) {
      const fields = { err: plain(error), group: this.#subscription.group }
      this.#parts.logger.warn(fields, 'a message whose earlier try did not end cannot be tried; it comes again')
      await this.#leases.release(held).catch(() => {})
      return
    }
    await this.#begin(held, lease)
  }

  #begin(held: Held, lease: Lease): Promise<void> {
    held.tried = true
    return this.#receive(lease)
  }

  #hint(): void {
    this.#woken = true
    this.#wake?.()
  }

  async #sleep(ms: number, deaf = false): Promise<void> {
    if (this.#stopped || (this.#woken && !deaf)) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        if (deaf && !this.#stopped) return
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }
}
