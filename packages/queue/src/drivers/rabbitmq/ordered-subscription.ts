import type { ConsumeMessage } from 'amqplib'
import type { DriverSubscription, Envelope, Lease, Receive, Subscription } from '../../driver.ts'
import { Intake, type Generation } from './intake.ts'
import { KeyLog } from './key-log.ts'
import { Releaser } from './releaser.ts'
import type { SubscriptionParts } from './subscription.ts'
import { deadQueue, declareSubscription, parkedQueue } from './topology.ts'
import { controlFromWire, copyOf, earlierDeliveries, factsOf, fromWire, type Control, type Facts } from './wire.ts'

/** A message of a lane and the channel that it is to be acknowledged on. */
export interface Item {
  readonly message: ConsumeMessage
  readonly generation: Generation
  readonly envelope: Envelope | undefined
  attempt: number
}

/** What ends a release: reached when everything that waited for it is done. */
interface Gate {
  readonly pass: () => Promise<void>
}

/** One key's messages in order. Busy from the start of a handler to its settlement, over retries, and while a release is prepared. */
interface Lane {
  readonly key: string
  waiting: (Item | Gate)[]
  busy: boolean
  release: { readonly side: Generation | undefined; readonly control: Item } | undefined
}

/**
 * A member of an ordered group. The broker lets one member at a time work (single active consumer) and hands out in publishing order;
 * this class keeps the order per key while keys go on side by side:
 *  - a lane hands out its next message when the one before is settled; a retry keeps its message in hand, and so its key;
 *  - a key that failed for good is parked: its messages move to a queue of their own, and a stream remembers the key;
 *  - a release, which arrives as a message in the group's queue, brings them back in front of what is new, and ends with the key unparked.
 * Every delivery waits until the stream has been read, since another member may have parked keys before.
 */
export class OrderedSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #queue: string
  readonly #receive: Receive
  readonly #concurrency: number
  readonly #log: KeyLog
  readonly #releaser: Releaser
  readonly #intake: Intake
  readonly #lanes = new Map<string, Lane>()
  readonly #moves = new Set<Promise<void>>()
  readonly #retries = new Map<NodeJS.Timeout, Item>()
  #parked = new Map<string, string>()
  #loose: Item[] = []
  #runnable: Lane[] = []
  #synchronised: Generation | undefined
  #synchronising: Generation | undefined
  #early: ConsumeMessage[] = []
  #running = 0
  #stopped = false

  constructor(queue: string, subscription: Subscription, receive: Receive, parts: SubscriptionParts) {
    this.#parts = parts
    this.#queue = queue
    this.#receive = receive
    this.#concurrency = subscription.concurrency
    this.#log = new KeyLog(parts.link, parts.publisher, queue)
    this.#releaser = new Releaser(parts.link, queue)
    this.#intake = new Intake({
      link: parts.link,
      queue,
      prefetch: prefetchFor(subscription.concurrency),
      logger: parts.logger,
      prepare: async () => void (await declareSubscription(parts.link, subscription)),
      handlers: { message: (message, generation) => this.#arrive(message, generation), ended: (generation) => this.#ended(generation) },
    })
  }

  trouble(): string | undefined {
    return undefined
  }

  async quiesce(): Promise<void> {
    this.#stopped = true
    await this.#intake.cancel()
    this.#giveBack()
  }

  async close(): Promise<void> {
    await this.quiesce()
    for (const lane of this.#lanes.values()) await lane.release?.side?.channel.close().catch(() => {})
    await this.#intake.close()
  }

  #arrive(message: ConsumeMessage, generation: Generation): void {
    if (this.#stopped) {
      generation.requeue(message)
      return
    }
    if (this.#synchronised === generation) {
      this.#accept(message, generation)
      return
    }
    this.#early.push(message)
    if (this.#synchronising !== generation) void this.#synchronise(generation)
  }

  async #synchronise(generation: Generation): Promise<void> {
    this.#synchronising = generation
    try {
      this.#parked = await this.#log.read(generation.signal)
    } catch (error) {
      this.#restart(generation, error, 'parked keys cannot be read')
      return
    }
    if (!generation.alive) return
    this.#synchronised = generation
    for (const message of this.#early.splice(0)) this.#arrive(message, generation)
  }

  #accept(message: ConsumeMessage, generation: Generation): void {
    const control = controlFromWire(message)
    const envelope = fromWire(message)
    const attempt = Math.max(1, factsOf(message).attempt) + earlierDeliveries(message)
    const item: Item = { message, generation, envelope, attempt }
    if (control !== undefined) {
      void this.#release(control, item)
      return
    }
    const key = envelope?.key
    if (key === undefined) {
      this.#loose.push(item)
      this.#pump()
      return
    }
    const lane = this.#lane(key)
    if (this.#parked.has(key) && lane.release === undefined) this.#park(lane, item)
    else lane.waiting.push(item)
    this.#offer(lane)
  }

  /** Makes a lane runnable when it has something to do and nothing in hand; forgets it when it has nothing at all. */
  #offer(lane: Lane): void {
    if (lane.busy) return
    if (lane.waiting.length > 0) {
      lane.busy = true
      this.#runnable.push(lane)
      this.#pump()
    } else if (lane.release === undefined) this.#lanes.delete(lane.key)
  }

  #pump(): void {
    while (!this.#stopped && this.#running < this.#concurrency) {
      const loose = this.#loose.shift()
      if (loose !== undefined) {
        this.#hand(loose, undefined)
        continue
      }
      const lane = this.#runnable.shift()
      if (lane === undefined) return
      const next = lane.waiting.shift()
      if (next === undefined) this.#freed(lane)
      else if ('pass' in next) void next.pass().finally(() => this.#freed(lane))
      else this.#hand(next, lane)
    }
  }

  #hand(item: Item, lane: Lane | undefined): void {
    let postponed = false
    const { message, generation, attempt } = item
    const bury = async (reason: string): Promise<void> => {
      await this.#copy(item, deadQueue(this.#queue), { attempt, reason, deadAt: Date.now() })
      if (lane === undefined) generation.ack(message)
      else await this.#parkBy(lane, item)
    }
    const retry = async (delayMs: number): Promise<void> => {
      // Nobody stays to hold it: the broker keeps its place, and counts the delivery as the attempt.
      if (this.#stopped) return generation.requeue(message)
      if (lane === undefined) {
        const queue = await this.#parts.waits.ensure({ exchange: '', routingKey: this.#queue }, delayMs)
        await this.#copy(item, queue, { attempt: attempt + 1 })
        generation.ack(message)
        return
      }
      postponed = true
      this.#postpone(lane, item, delayMs)
    }
    const lease: Lease = {
      envelope: item.envelope,
      attempt,
      begun: attempt - 1,
      alone: false,
      signal: generation.signal,
      ack: async () => generation.ack(message),
      retry,
      deadLetter: bury,
      release: async () => generation.requeue(message),
    }
    this.#running += 1
    void this.#receive(lease).finally(() => {
      this.#running -= 1
      if (lane !== undefined && !postponed) this.#freed(lane)
      this.#pump()
    })
  }

  #freed(lane: Lane): void {
    lane.busy = false
    this.#offer(lane)
  }

  #postpone(lane: Lane, item: Item, delayMs: number): void {
    const timer = setTimeout(() => {
      this.#retries.delete(timer)
      if (item.generation.alive) lane.waiting.unshift({ ...item, attempt: item.attempt + 1 })
      this.#freed(lane)
    }, delayMs)
    this.#retries.set(timer, item)
  }

  /** Dead letter first, then the memory of the key, then the acknowledgement: a crash in between repeats, and loses nothing. */
  async #parkBy(lane: Lane, item: Item): Promise<void> {
    const id = item.envelope?.id ?? ''
    await this.#log.park(lane.key, id, item.generation.signal)
    item.generation.ack(item.message)
    this.#parked.set(lane.key, id)
    const { release } = lane
    lane.release = undefined
    const waiting = lane.waiting.splice(0).filter((entry): entry is Item => !('pass' in entry))
    // What had come from the parked queue goes back to its front; what is new follows to its end.
    for (const entry of waiting) if (entry.generation === release?.side && entry.generation.alive) entry.generation.requeue(entry.message)
    for (const entry of waiting) if (entry.generation !== release?.side) this.#park(lane, entry)
    if (release === undefined) return
    await release.side?.channel.close().catch(() => {})
    if (release.control.generation.alive) release.control.generation.ack(release.control.message)
  }

  #park(lane: Lane, item: Item): void {
    const move = this.#copy(item, parkedQueue(this.#queue), {})
      .then(() => item.generation.ack(item.message))
      .catch((error: unknown) =>
        this.#restart(item.generation, error, `a message of a parked key cannot be moved (${lane.key.length} characters)`),
      )
      .finally(() => this.#moves.delete(move))
    this.#moves.add(move)
  }

  async #release(control: Control, item: Item): Promise<void> {
    const lane = this.#lane(control.key)
    const parkedBy = this.#parked.get(control.key)
    const obsolete =
      parkedBy === undefined || (control.op === 'replay' && parkedBy !== control.id) || lane.release !== undefined || lane.busy
    if (obsolete) {
      item.generation.ack(item.message)
      return
    }
    // From here on, new messages of the key wait in the lane.
    lane.busy = true
    lane.release = { side: undefined, control: item }
    try {
      await Promise.all(this.#moves)
      const { side, messages } = await this.#releaser.collect(control, item.generation.signal)
      lane.release = { side, control: item }
      const base = 1 + earlierDeliveries(item.message)
      const returned = messages.map((message): Item => ({ message, generation: side, envelope: fromWire(message), attempt: base }))
      const pass = async (): Promise<void> => this.#unpark(lane, side, item)
      lane.waiting.unshift(...returned, { pass })
      this.#freed(lane)
    } catch (error) {
      this.#restart(item.generation, error, 'a parked key cannot be released')
    }
  }

  async #unpark(lane: Lane, side: Generation, control: Item): Promise<void> {
    try {
      await this.#log.unpark(lane.key, control.generation.signal)
      this.#parked.delete(lane.key)
      lane.release = undefined
      await side.channel.close().catch(() => {})
      control.generation.ack(control.message)
    } catch (error) {
      this.#restart(control.generation, error, 'a parked key cannot be released')
    }
  }

  async #copy(item: Item, queue: string, facts: Facts): Promise<void> {
    const { signal } = item.generation
    await this.#parts.publisher.send({ exchange: '', routingKey: queue }, copyOf(item.message, facts), { mandatory: true, signal })
  }

  /** Begin again from what the broker has: everything in hand is redelivered in order. */
  #restart(generation: Generation, error: unknown, message: string): void {
    if (!generation.alive) return
    this.#parts.logger.warn({ err: error, queue: this.#queue }, `${message}; subscribing anew`)
    void generation.channel.close().catch(() => generation.end())
  }

  #ended(generation: Generation): void {
    if (this.#synchronising === generation) this.#early = []
    this.#synchronised = undefined
    this.#synchronising = undefined
    this.#loose = []
    for (const [timer] of this.#retries) clearTimeout(timer)
    const postponed = new Set([...this.#retries.values()].map((item) => item.envelope?.key))
    this.#retries.clear()
    for (const lane of this.#lanes.values()) {
      void lane.release?.side?.channel.close().catch(() => {})
      const preparing = lane.release !== undefined && lane.release.side === undefined
      lane.release = undefined
      lane.waiting = []
      // A lane whose handler still runs stays busy until that ends.
      if (postponed.has(lane.key) || preparing) this.#freed(lane)
    }
  }

  #giveBack(): void {
    const items = [...this.#retries.values(), ...[...this.#lanes.values()].flatMap((lane) => lane.waiting), ...this.#loose]
    for (const [timer] of this.#retries) clearTimeout(timer)
    this.#retries.clear()
    for (const lane of this.#lanes.values()) lane.waiting = []
    this.#loose = []
    for (const item of items) if (!('pass' in item) && item.generation.alive) item.generation.requeue(item.message)
  }

  #lane(key: string): Lane {
    let lane = this.#lanes.get(key)
    if (lane === undefined) this.#lanes.set(key, (lane = { key, waiting: [], busy: false, release: undefined }))
    return lane
  }
}

/** Ahead of the handlers, so that one slow key does not keep the others from being seen. */
export function prefetchFor(concurrency: number): number {
  return Math.max(64, concurrency * 8)
}
