import type { ConsumeMessage } from 'amqplib'
import { Generation } from './generation.ts'
import type { KeyLog } from './key-log.ts'
import type { Lane } from './lane.ts'
import type { Link } from './link.ts'
import type { Item } from './ordered-subscription.ts'
import type { Settlement } from './settle.ts'
import { parkedQueue } from './names.ts'
import { factsOf, fromWire, type Control } from './wire.ts'

/** A release under way: the channel that holds what was parked, once it is fetched, and the order that began it. */
interface Release {
  readonly order: Item
  side: Generation | undefined
}

/**
 * Keys that wait for a dead letter. The key log says which; their messages lie in a queue of their own. A release, which arrives as a message
 * in the group's queue, brings them back in front of what is new, and ends with the key unparked. Of a lane that is being released new
 * messages wait in the lane.
 */
export class Parking {
  readonly #queue: string
  readonly #log: KeyLog
  readonly #settlement: Settlement
  readonly #link: Link
  readonly #releases = new Map<Lane<Item>, Release>()
  readonly #moves = new Set<Promise<void>>()
  #parked = new Map<string, string>()
  #collecting: Promise<unknown> = Promise.resolve()

  constructor(queue: string, parts: { log: KeyLog; settlement: Settlement; link: Link }) {
    this.#queue = queue
    this.#log = parts.log
    this.#settlement = parts.settlement
    this.#link = parts.link
  }

  begin(parked: Map<string, string>): void {
    this.#parked = parked
  }

  /** The channel of the group's queue is lost, and the releases with it. */
  end(): void {
    this.close()
    this.#moves.clear()
  }

  close(): void {
    for (const { side } of this.#releases.values()) void side?.close()
    this.#releases.clear()
  }

  isReleasing(lane: Lane<Item>): boolean {
    return this.#releases.has(lane)
  }

  /** A message that arrives for it has to be moved away. */
  isParked(lane: Lane<Item>): boolean {
    return this.#parked.has(lane.key) && !this.#releases.has(lane)
  }

  mayRelease(lane: Lane<Item>, { op, id }: Control): boolean {
    const parkedBy = this.#parked.get(lane.key)
    const free = lane.state.at === 'idle' || lane.state.at === 'offered'
    return parkedBy !== undefined && (op === 'release' || parkedBy === id) && !this.#releases.has(lane) && free
  }

  /** After the dead letter is stored. Returns what waits in the lane and has to be moved away behind what is parked already. */
  async park(lane: Lane<Item>, item: Item): Promise<Item[]> {
    const { signal } = item.generation
    await this.#log.park(lane.key, item.id, signal)
    const release = this.#releases.get(lane)
    if (item.from !== 'replayed') item.generation.ack(item.message)
    this.#parked.set(lane.key, item.id)
    this.#releases.delete(lane)
    // What had come from the parked queue goes back to its front, in order.
    await release?.side?.close()
    const waiting = lane.empties().filter(({ from }) => from === 'queue')
    if (release?.order.generation.alive === true) release.order.generation.ack(release.order.message)
    return waiting
  }

  async moveAway(item: Item): Promise<void> {
    const { counted, shown } = item.tries
    const move = this.#settlement.moveTo(parkedQueue(this.#queue), item, { counted, shown, replays: factsOf(item.message).replays })
    this.#moves.add(move)
    try {
      await move
    } finally {
      this.#moves.delete(move)
    }
  }

  /** What the lane has to do before its new messages: the letter that is replayed, what was parked, and the end of the release. */
  async release(lane: Lane<Item>, order: Item): Promise<Item[]> {
    const release: Release = { order, side: undefined }
    this.#releases.set(lane, release)
    await Promise.all(this.#moves)
    // One at a time: while one holds the parked messages, another would find the queue empty.
    const collecting = this.#collecting.then(() => this.#collect(lane.key, order.generation.signal))
    this.#collecting = collecting.catch(() => {})
    const { side, messages } = await collecting
    if (this.#releases.get(lane) !== release) {
      await side.close()
      return []
    }
    release.side = side
    const parked = messages.map((message): Item => {
      const envelope = fromWire(message)
      const { counted, shown } = factsOf(message)
      return { id: envelope?.id ?? '', message, generation: side, envelope, tries: { counted, shown }, suspect: false, from: 'parked' }
    })
    const letter = order.from === 'replayed' ? [order] : []
    return [...letter, ...parked, { ...order, id: '', from: 'gate' }]
  }

  async endRelease(lane: Lane<Item>): Promise<void> {
    const release = this.#releases.get(lane)
    if (release === undefined) return
    const { order, side } = release
    await this.#log.unpark(lane.key, order.generation.signal)
    this.#parked.delete(lane.key)
    this.#releases.delete(lane)
    await side?.close()
    order.generation.ack(order.message)
  }

  async #collect(key: string, signal: AbortSignal): Promise<{ side: Generation; messages: ConsumeMessage[] }> {
    const side = new Generation(await this.#link.open((connection) => connection.createChannel(), signal))
    try {
      return { side, messages: await pick(side, parkedQueue(this.#queue), (message) => fromWire(message)?.key === key) }
    } catch (error) {
      await side.close()
      throw error
    }
  }
}

/** Takes out what `wanted` chooses, unacknowledged, and puts the rest back in order. */
async function pick(side: Generation, queue: string, wanted: (message: ConsumeMessage) => boolean): Promise<ConsumeMessage[]> {
  const picked: ConsumeMessage[] = []
  const rest: ConsumeMessage[] = []
  for (let message = await side.get(queue); message !== undefined; message = await side.get(queue)) {
    if (wanted(message)) picked.push(message)
    else rest.push(message)
  }
  for (const message of rest) side.requeue(message)
  return picked
}
