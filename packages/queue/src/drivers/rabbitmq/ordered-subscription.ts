import { settlesWithin } from '@platform/kernel'
import type { ConsumeMessage } from 'amqplib'
import type { DriverSubscription, Envelope, Lease, Receive, Subscription } from '../../driver.ts'
import { Shelf } from '../../shelf.ts'
import type { Generation } from './generation.ts'
import { countsOf } from './group.ts'
import { Intake } from './intake.ts'
import { KeyLog, type KeyState } from './key-log.ts'
import { Lane } from './lane.ts'
import { deadQueue } from './names.ts'
import { Parking } from './parking.ts'
import { Settlement } from './settle.ts'
import { Settled } from './settled.ts'
import type { Slots } from './slots.ts'
import type { SubscriptionParts } from './subscription.ts'
import { Suspicion } from './suspicion.ts'
import { declareSubscription } from './topology.ts'
import type { Tries } from './tries.ts'
import { controlFromWire, factsOf, fromWire } from './wire.ts'

/** A message of a lane and the channel that it is to be acknowledged on. */
export interface Item {
  readonly id: string
  readonly message: ConsumeMessage
  readonly generation: Generation
  readonly envelope: Envelope | undefined
  readonly tries: Tries
  /** Somebody else may have died of it. */
  readonly suspect: boolean
  /** A message of the group's queue; a parked one, or a dead letter that is replayed; the end of a release, which is no message. */
  readonly from: 'queue' | 'parked' | 'replayed' | 'gate'
}

/** What could be neither settled nor given back at once comes again after this. */
const giveBackMs = 1_000
const leaveTimeoutMs = 3_000

/**
 * A member at a shard of an ordered group. The broker lets one member at a time work (single active consumer) and hands out in publishing
 * order; this class keeps the order per key while keys go on side by side: see `Lane`. A key that failed for good is parked: see `Parking`.
 *
 * Who is at work is at work until nothing is in hand. At the end no further handler begins, but the channel stays open until the last one is
 * settled; then one step closes it: the broker takes back in order what was not begun, and lets the next member begin.
 * Every delivery waits until the key log has been read, since another member may have parked keys or left something half done.
 */
export class OrderedSubscription implements DriverSubscription {
  readonly #parts: SubscriptionParts
  readonly #queue: string
  readonly #receive: Receive
  readonly #slots: Slots
  readonly #log: KeyLog
  readonly #settlement: Settlement
  readonly #parking: Parking
  readonly #suspicion: Suspicion
  readonly #settled: Settled
  readonly #intake: Intake
  readonly #lanes = new Map<string, Lane<Item>>()
  readonly #timers = new Map<NodeJS.Timeout, Item>()
  /** Tries of messages that stay unsettled at the end; the next member is to know of them. */
  readonly #owed = new Map<string, Tries>()
  /** What handlers have. */
  readonly #inHand = new Shelf<Item>()
  #loose: Item[] = []
  #runnable: Lane<Item>[] = []
  #state: KeyState | undefined
  #generation: Generation | undefined
  #early: ConsumeMessage[] = []
  #running = 0
  #unsettled = 0
  #stopped = false
  readonly #gone = Promise.withResolvers<void>()
  #left: Promise<void> | undefined

  constructor(queue: string, subscription: Subscription, receive: Receive, parts: SubscriptionParts, slots: Slots) {
    this.#parts = parts
    this.#queue = queue
    this.#receive = receive
    this.#slots = slots
    this.#log = new KeyLog(parts.link, parts.publisher, queue)
    const restore = (): Promise<void> => declareSubscription(parts.link, subscription)
    this.#settlement = new Settlement(queue, deadQueue(subscription.destination, subscription.group), { ...parts, restore })
    this.#parking = new Parking(queue, { log: this.#log, settlement: this.#settlement, link: parts.link })
    this.#settled = new Settled(subscription.prefetch)
    this.#suspicion = new Suspicion(queue, parts.givenBack)
    this.#intake = new Intake({
      link: parts.link,
      queue,
      prefetch: subscription.prefetch,
      logger: parts.logger,
      prepare: () => parts.declare(subscription),
      handlers: {
        message: (message, generation) => this.#arrive(message, generation),
        acknowledged: (message) => this.#settled.add(message),
        ended: (generation) => this.#ended(generation),
      },
    })
  }

  trouble(): string | undefined {
    if (this.#unsettled > 0) return `${this.#unsettled} messages could not be settled and come again; their keys wait`
    return this.#stopped ? undefined : this.#intake.trouble()
  }

  /** The broker has given it something: it is the member at work, not one that waits for it. */
  get active(): boolean {
    return this.#generation !== undefined
  }

  async depth({ signal }: { signal: AbortSignal }): Promise<number> {
    return (await countsOf(this.#parts.link, [this.#queue], signal)).messages
  }

  async quiesce(): Promise<void> {
    this.#stopped = true
    this.#leaveWhenDone()
  }

  /** Resolves when nothing is in hand any more and another member may begin. */
  async leave(): Promise<void> {
    await this.quiesce()
    await this.#gone.promise
  }

  async close(): Promise<void> {
    this.#stopped = true
    this.#left ??= this.#leave()
    await this.#left
  }

  /** Before the last handler is settled nobody else may begin. */
  #leaveWhenDone(): void {
    if (this.#stopped && this.#running === 0) this.#left ??= this.#leave()
  }

  async #leave(): Promise<void> {
    for (const [timer, item] of this.#timers) {
      clearTimeout(timer)
      this.#owed.set(item.id, item.tries)
    }
    this.#timers.clear()
    // A handler that outlives the time to close: its try began, and may go on.
    for (const { id, tries } of this.#inHand) this.#owed.set(id, { counted: tries.counted, shown: tries.shown + 1 })
    const generation = this.#generation
    // Only who had taken over has something to say.
    if (generation?.alive === true && this.#state !== undefined) {
      const silent = (error: unknown): void =>
        this.#parts.logger.debug({ err: error, queue: this.#queue }, 'the key log could not be told of the end')
      await settlesWithin(this.#sayGoodbye(generation).catch(silent), leaveTimeoutMs)
    }
    this.#parking.close()
    await this.#intake.close()
    this.#gone.resolve()
  }

  async #sayGoodbye({ signal }: Generation): Promise<void> {
    for (const [id, tries] of this.#owed) await this.#log.tried(id, tries, signal)
    // What the member before may have left, in case it has not come yet.
    await this.#log.left([...(this.#state?.settled ?? []), ...this.#settled.ids], signal)
  }

  #arrive(message: ConsumeMessage, generation: Generation): void {
    this.#settled.arrived(message)
    // Left where it is: the broker takes it back, in its place, when the channel closes.
    if (this.#stopped) return
    if (this.#generation === generation && this.#state !== undefined) return this.#accept(message, generation, this.#state)
    this.#early.push(message)
    if (this.#generation !== generation) void this.#takeOver(generation)
  }

  async #takeOver(generation: Generation): Promise<void> {
    this.#generation = generation
    let state: KeyState
    try {
      state = await this.#log.takeOver(generation.signal)
    } catch (error) {
      return this.#restart(generation, error, 'parked keys cannot be read')
    }
    if (!generation.alive) return
    this.#parking.begin(state.parked)
    this.#state = state
    for (const message of this.#early.splice(0)) this.#arrive(message, generation)
    this.#leaveWhenDone()
  }

  #accept(message: ConsumeMessage, generation: Generation, state: KeyState): void {
    if (this.#settled.isDone(message, state.settled)) return generation.ack(message)
    const control = controlFromWire(message)
    const envelope = control === 'invalid' ? undefined : fromWire(message)
    const id = envelope?.id ?? `${message.fields.deliveryTag}`
    const from = control !== 'invalid' && control?.op === 'replay' ? 'replayed' : 'queue'
    const item: Item = { id, message, generation, envelope, ...this.#suspicion.judge(message, envelope, state), from }
    if (control !== undefined && control !== 'invalid') {
      const lane = this.#lane(control.key)
      if (this.#parking.mayRelease(lane, control)) return void this.#release(lane, item)
      // Its key was released meanwhile. A letter that came along is a message like others; an order alone has nothing to say any more.
      if (control.op === 'release' || envelope === undefined) return generation.ack(message)
    }
    const key = envelope?.key
    if (key === undefined) {
      this.#loose.push(item)
      return this.#pump()
    }
    const lane = this.#lane(key)
    if (this.#parking.isParked(lane)) this.#park(lane, item)
    else lane.add({ ...item, from: 'queue' })
    this.#offer(lane)
  }

  /** Queues a lane for a handler when it has something to do and nothing in hand; forgets it when it has nothing at all. */
  #offer(lane: Lane<Item>): void {
    if (lane.offer()) {
      this.#runnable.push(lane)
      this.#pump()
    } else if (lane.empty && !this.#parking.isReleasing(lane)) this.#lanes.delete(lane.key)
  }

  readonly #pump = (): void => {
    while (!this.#stopped && (this.#loose.length > 0 || this.#runnable.length > 0) && this.#slots.take(this.#pump)) {
      if (!this.#begin()) this.#slots.release()
    }
    this.#leaveWhenDone()
  }

  /** False when what came next needs no handler. */
  #begin(): boolean {
    const loose = this.#loose.shift()
    const lane = loose === undefined ? this.#runnable.shift() : undefined
    const next = loose ?? lane?.take()
    if (next !== undefined && next.from !== 'gate') {
      this.#hand(next, lane)
      return true
    }
    if (lane !== undefined && next !== undefined) void this.#pass(lane, next)
    else if (lane !== undefined) this.#offer(lane)
    return false
  }

  #hand(item: Item, lane: Lane<Item> | undefined): void {
    this.#running += 1
    const place = this.#inHand.put(item)
    const run = (): Promise<void> => this.#receive(this.#lease(item, lane))
    const running = item.suspect ? this.#parts.alone(() => this.#tryAlone(item, run)) : run()
    void running
      .catch((error: unknown) => this.#restart(item.generation, error, 'a message whose earlier try did not end cannot be tried'))
      .finally(() => {
        this.#running -= 1
        this.#inHand.take(place, item)
        if (lane?.state.at === 'handling' && lane.state.item === item) lane.settled()
        if (lane !== undefined) this.#offer(lane)
        this.#slots.release()
        this.#pump()
      })
  }

  /** The log is told before the try begins: if the process ends in it, the next member knows by what. */
  async #tryAlone(item: Item, run: () => Promise<void>): Promise<void> {
    if (this.#stopped || !item.generation.alive) return
    await this.#log.tried(item.id, { counted: item.tries.counted + 1, shown: item.tries.shown + 1 }, item.generation.signal)
    await run()
    if (item.generation.alive) await this.#log.done(item.id, item.generation.signal).catch(() => {})
  }

  #lease(item: Item, lane: Lane<Item> | undefined): Lease {
    const { generation, tries } = item
    const next = { counted: tries.counted + 1, shown: tries.shown + 1 }
    const settled = async (work: () => Promise<void> | void): Promise<void> => {
      try {
        await work()
      } catch (error) {
        this.#unsettle(item, lane, error)
        throw error
      }
    }
    return {
      envelope: item.envelope,
      attempt: tries.shown + 1,
      begun: tries.counted,
      alone: item.suspect,
      signal: generation.signal,
      ack: () => settled(() => this.#acknowledge(item)),
      retry: (delayMs) =>
        settled(() => (lane === undefined ? this.#settlement.retry(item, delayMs, next) : this.#postpone(lane, item, next, delayMs))),
      deadLetter: (reason) => settled(() => this.#bury(lane, item, reason)),
      // Its place is kept by the open channel; who comes next is told of the try.
      release: async () => void this.#owed.set(item.id, { counted: tries.counted, shown: tries.shown + 1 }),
    }
  }

  /** A replayed dead letter stays, with its order, until the release has ended. */
  #acknowledge({ from, generation, message }: Item): void {
    if (from !== 'replayed') generation.ack(message)
    else generation.signal.throwIfAborted()
  }

  #postpone(lane: Lane<Item>, item: Item, tries: Tries, delayMs: number): void {
    item.generation.signal.throwIfAborted()
    const again: Item = { ...item, tries, suspect: false }
    if (lane.state.at !== 'handling' || lane.state.item !== item) return
    lane.postpone(again)
    if (this.#stopped) return void this.#owed.set(item.id, tries)
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!this.#stopped && lane.again(again)) this.#offer(lane)
    }, delayMs)
    this.#timers.set(timer, again)
  }

  /** Dead letter first, then the memory of the key, then the acknowledgement: a crash in between repeats, and loses nothing. */
  async #bury(lane: Lane<Item> | undefined, item: Item, reason: string): Promise<void> {
    await this.#settlement.bury(item, reason, item.tries, factsOf(item.message).replays)
    if (lane !== undefined) {
      const moving = await this.#parking.park(lane, item)
      for (const waiting of moving) this.#park(lane, waiting)
    } else item.generation.ack(item.message)
  }

  /** The message could be settled nowhere: it is given back and comes again, its key waits for it, and the handler's place is free. */
  #unsettle(item: Item, lane: Lane<Item> | undefined, error: unknown): void {
    const { generation } = item
    if (!generation.alive || this.#stopped) return
    this.#parts.logger.warn(
      { err: error, queue: this.#queue, messageId: item.id },
      'a delivery could not be settled; its key waits until it comes again',
    )
    // What came from elsewhere cannot be given back alone.
    if (item.from !== 'queue' || (lane !== undefined && (lane.state.at !== 'handling' || lane.state.item !== item))) {
      return this.#restart(generation, error, 'a release could not go on')
    }
    lane?.block(item.id)
    this.#unsettled += 1
    setTimeout(() => {
      this.#unsettled -= 1
      if (!generation.alive || this.#stopped) return
      this.#remember(item, true)
      generation.requeue(item.message)
    }, giveBackMs)
  }

  #park(lane: Lane<Item>, item: Item): void {
    this.#parking
      .moveAway(item)
      .catch((error: unknown) => this.#restart(item.generation, error, 'a message of a parked key cannot be moved'))
      .finally(() => this.#offer(lane))
  }

  async #release(lane: Lane<Item>, order: Item): Promise<void> {
    try {
      lane.fetch()
      lane.fetched(await this.#parking.release(lane, order))
      this.#offer(lane)
    } catch (error) {
      this.#restart(order.generation, error, 'a parked key cannot be released')
    }
  }

  async #pass(lane: Lane<Item>, gate: Item): Promise<void> {
    try {
      await this.#parking.endRelease(lane)
    } catch (error) {
      this.#restart(gate.generation, error, 'a parked key cannot be released')
    }
    if (lane.state.at === 'handling') lane.settled()
    this.#offer(lane)
  }

  /** Begin again from what the broker has: everything in hand is redelivered in order. */
  #restart(generation: Generation, error: unknown, message: string): void {
    if (!generation.alive) return
    this.#parts.logger.warn({ err: error, queue: this.#queue }, `${message}; subscribing anew`)
    void generation.close()
  }

  #ended(generation: Generation): void {
    if (this.#generation !== generation) return
    this.#generation = undefined
    this.#state = undefined
    this.#early = []
    this.#suspicion.begin()
    for (const timer of this.#timers.keys()) clearTimeout(timer)
    this.#timers.clear()
    this.#parking.end()
    for (const item of this.#loose.splice(0)) this.#remember(item, false)
    for (const lane of this.#lanes.values()) {
      const { state } = lane
      if (state.at === 'handling' && state.item.from !== 'gate') this.#remember(state.item, true)
      for (const item of lane.reset()) this.#remember(item, false)
      this.#offer(lane)
    }
  }

  #remember({ id, message, tries, from }: Item, begun: boolean): void {
    if (from === 'queue') this.#suspicion.gaveBack(id, message, tries, begun)
  }

  #lane(key: string): Lane<Item> {
    let lane = this.#lanes.get(key)
    if (lane === undefined) this.#lanes.set(key, (lane = new Lane<Item>(key)))
    return lane
  }
}
