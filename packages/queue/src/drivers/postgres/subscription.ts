import { backgroundTimeout, backoffMs } from '@platform/kernel'
import type { DriverSubscription, Envelope, Lease, Receive, Subscription } from '../../driver.ts'
import { parseEnvelope } from '../../envelope.ts'
import type { LoggerLike } from '../../shapes.ts'
import type { Boss } from './boss.ts'
import type { Connections } from './connection.ts'
import { Leases, triesOf, type Held } from './leases.ts'
import type { Listener } from './listener.ts'
import type { ResolvedPostgresOptions } from './options.ts'
import type { Registry } from './registry.ts'

export interface SubscriptionParts {
  readonly boss: Boss
  readonly connections: Connections
  readonly registry: Registry
  readonly listener: Listener
  readonly options: ResolvedPostgresOptions
  readonly logger: LoggerLike
  alone<T>(work: () => Promise<T>): Promise<T>
}

const maxBatch = 100

/**
 * Fetches into free slots: at once while there is work, otherwise when a notification, a retry that is due or the poll interval says so.
 * Nothing is fetched ahead of its handler, so that what is given back at a close is only what was running.
 */
export class PostgresSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #subscription: Subscription
  readonly #receive: Receive
  readonly #leases: Leases
  readonly #queue: string
  readonly #unlisten: () => void
  #running = 0
  #stopped = false
  #failing = false
  #woken = false
  /** The last look left work behind, or none was possible. */
  #more = false
  #wake: (() => void) | undefined
  readonly #dueTimers = new Set<NodeJS.Timeout>()
  readonly #loop: Promise<void>

  constructor(queue: string, subscription: Subscription, receive: Receive, parts: SubscriptionParts) {
    this.#parts = parts
    this.#subscription = subscription
    this.#receive = receive
    this.#queue = queue
    this.#leases = new Leases(parts.connections, parts.options.schema, queue, () => this.#freed())
    this.#unlisten = parts.listener.on(queue, () => this.#hint())
    this.#loop = this.#run()
  }

  trouble(): string | undefined {
    return this.#failing ? 'the queue cannot be read; retrying' : undefined
  }

  depth(): Promise<number> {
    return this.#parts.registry.depth(this.#queue)
  }

  async quiesce(): Promise<void> {
    this.#stopped = true
    this.#hint()
    await this.#loop
  }

  async close(): Promise<void> {
    await this.quiesce()
    this.#unlisten()
    for (const timer of this.#dueTimers) clearTimeout(timer)
    await this.#leases.close()
    if (!this.#subscription.broadcast) return
    // Swept later by others when this fails.
    await this.#parts.registry.remove(this.#queue).catch(() => {})
  }

  async #run(): Promise<void> {
    const { concurrency, ordered } = this.#subscription
    // Waiting for a quarter of the slots turns many small fetches into few larger ones.
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
      let got: number
      try {
        got = await this.#fetch(wanted)
        this.#more = got === wanted
        failures = 0
        this.#failing = false
      } catch (error) {
        failures += 1
        this.#failing = true
        if (failures === 1) this.#parts.logger.warn({ err: error, queue: this.#queue }, 'queue cannot be read; retrying')
        await this.#sleep(50 + backoffMs(failures, 100, 2_000), true)
        continue
      }
      // In an ordered queue a short answer may only mean that keys are busy; their settlement wakes us.
      if (got < wanted || (ordered && got === 0)) await this.#sleep(this.#parts.options.pollIntervalMs * (0.8 + Math.random() * 0.4))
    }
  }

  async #fetch(batchSize: number): Promise<number> {
    const boss = await this.#parts.boss.started()
    const fetchedAt = performance.now()
    const jobs = await boss.fetch<Envelope>(this.#queue, { batchSize })
    for (const job of jobs) {
      const { tries, suspect } = triesOf(job.data, job.retryCount)
      const held = this.#leases.hold(job.id, job.retryCount, tries, fetchedAt)
      if (this.#stopped) {
        await this.#leases.release(held).catch(() => {})
        continue
      }
      const lease: Lease = {
        envelope: parseEnvelope(job.data),
        attempt: tries.shown + 1,
        begun: tries.counted,
        alone: suspect,
        signal: held.lost.signal,
        ack: () => this.#leases.ack(held),
        retry: async (delayMs) => {
          await this.#leases.retry(held, delayMs)
          this.#hintIn(delayMs)
        },
        deadLetter: (reason) => this.#leases.bury(held, reason),
        release: () => this.#leases.release(held),
      }
      this.#running += 1
      const running = suspect ? this.#parts.alone(() => this.#tryAlone(held, lease)) : this.#receive(lease)
      void running.finally(() => {
        this.#running -= 1
        if (this.#more || this.#stopped) this.#hint()
      })
    }
    return jobs.length
  }

  /** Not begun when the attempt cannot be noted or the consumer has stopped: the message comes again. */
  async #tryAlone(held: Held, lease: Lease): Promise<void> {
    try {
      if (this.#stopped) return await this.#leases.release(held)
      await this.#leases.tryAlone(held)
    } catch (error) {
      this.#parts.logger.warn({ err: error, queue: this.#queue }, 'a message whose earlier try did not end cannot be tried; it comes again')
      await this.#leases.release(held).catch(() => {})
      return
    }
    await this.#receive(lease)
  }

  /** A settled row may be what an ordered key waited for. */
  #freed(): void {
    if (this.#subscription.ordered) this.#hint()
  }

  #hint(): void {
    this.#woken = true
    this.#wake?.()
  }

  /** The process that postponed a message knows when it is due; others find it by polling. */
  #hintIn(delayMs: number): void {
    if (delayMs > this.#parts.options.pollIntervalMs || this.#stopped) return
    const timer = backgroundTimeout(() => {
      this.#dueTimers.delete(timer)
      this.#hint()
    }, delayMs + 2)
    this.#dueTimers.add(timer)
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
