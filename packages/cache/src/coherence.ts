import { randomUUID } from 'node:crypto'
import { Delivery } from './delivery.ts'
import type { BusTransport, Invalidation, InvalidationBus } from './invalidation.ts'
import { within } from './timing.ts'

const formatVersion = 1
const publishTimeoutMs = 500
/** A publisher that was silent for so long is forgotten; should it come back, its first message counts as a gap. */
const peerIdleMs = 600_000

type Message = [version: number, publisher: string, sequence: number, heartbeat: number, keys: string[], tags: string[], all: boolean]

export interface CoherenceEvents {
  onInvalidation(what: Invalidation): void
  /** Copies in l1 are no longer vouched for. */
  onSuspect(cause: string): void
  /** Messages arrive again; what was stored before may have missed some. */
  onCoherent(): void
  /** A message of a peer is missing although the connection stood. */
  onGap(): void
  onDelivered(what: Invalidation, attempts: number): void
}

/**
 * What makes a bus that may lose messages trustworthy. Every publisher numbers its messages, so that a gap shows. Every process sends
 * heartbeats to itself through the bus; when one comes back, everything published before it has been received. Confirmed time is
 * therefore counted from the sending of the heartbeat, and after three intervals without an echo the state is `suspect` by itself.
 */
export class Coherence {
  /** Copies are vouched for until here (`performance.now()`); infinite in the state `suspect`, where `suspect` is asked instead. */
  confirmedUntil: number = Number.POSITIVE_INFINITY
  suspect = true
  readonly delivery: Delivery
  readonly #id = randomUUID()
  readonly #bus: InvalidationBus
  readonly #events: CoherenceEvents
  readonly #transport: BusTransport
  readonly #peers = new Map<string, { sequence: number; seenAt: number }>()
  readonly #timer: NodeJS.Timeout
  #sequence = 0
  /** What heartbeats tell: the server has it, so a peer that has not seen it missed it. */
  #acknowledged = 0
  #beat = 0
  #firstValidBeat = 1
  #sentAt = new Map<number, number>()
  #beating = false
  /** Until here an unknown publisher may start anywhere in its numbering: it was there before us. */
  #learnUntil: number
  #waiting: (() => void)[] = []

  constructor(bus: InvalidationBus, namespace: string, events: CoherenceEvents) {
    this.#bus = bus
    this.#events = events
    this.#learnUntil = Number.POSITIVE_INFINITY
    this.delivery = new Delivery(
      (what) => this.#publish(what),
      (what, attempts) => events.onDelivered(what, attempts),
    )
    this.#transport = bus.open({
      namespace,
      onMessage: (payload) => this.#receive(payload),
      onLost: () => this.lose('subscription lost'),
    })
    this.#timer = setInterval(() => this.#tick(), bus.heartbeatMs).unref()
    void this.#sendHeartbeat()
  }

  /** Resolves when the state is `coherent`. */
  ready(): Promise<void> {
    return this.suspect ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve()
  }

  lose(cause: string): void {
    this.#firstValidBeat = this.#beat + 1
    this.confirmedUntil = Number.POSITIVE_INFINITY
    this.#learnUntil = Number.POSITIVE_INFINITY
    this.#peers.clear()
    const before = this.suspect
    this.suspect = true
    if (!before) this.#events.onSuspect(cause)
    void this.#sendHeartbeat()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.delivery.close(new Error('closed'))
    this.#waiting = []
    await this.#transport.close()
  }

  #tick(): void {
    const now = performance.now()
    if (now >= this.confirmedUntil) this.lose('no heartbeat came back')
    for (const [id, peer] of this.#peers) if (now - peer.seenAt > peerIdleMs) this.#peers.delete(id)
    void this.#sendHeartbeat()
  }

  async #sendHeartbeat(): Promise<void> {
    if (this.#beating) return
    this.#beating = true
    const beat = ++this.#beat
    this.#sentAt.set(beat, performance.now())
    for (const old of this.#sentAt.keys()) if (old < beat - 8) this.#sentAt.delete(old)
    const message: Message = [formatVersion, this.#id, this.#acknowledged, beat, [], [], false]
    try {
      await within(this.#transport.publish(JSON.stringify(message)), publishTimeoutMs)
    } catch {
      // The next tick tries again; a missing echo is what counts.
    }
    this.#beating = false
    if (this.suspect && beat < this.#firstValidBeat) void this.#sendHeartbeat()
  }

  /** A failed attempt leaves a hole in the numbering: receivers flush, which is right, since nobody knows what arrived. */
  async #publish(what: Invalidation): Promise<void> {
    for (const part of split(what, this.#bus.maxPayloadBytes - 160)) {
      const message: Message = [formatVersion, this.#id, ++this.#sequence, 0, part.keys, part.tags, what.all]
      await within(this.#transport.publish(JSON.stringify(message)), publishTimeoutMs)
      this.#acknowledged = message[2]
    }
  }

  #receive(payload: string): void {
    let message: Message
    try {
      message = JSON.parse(payload) as Message
    } catch {
      return this.#events.onGap()
    }
    if (message[0] !== formatVersion) return this.#events.onGap()
    const [, publisher, sequence, heartbeat, keys, tags, all] = message
    if (publisher === this.#id) {
      if (heartbeat > 0) this.#confirm(heartbeat)
      return
    }
    if (this.#numbering(publisher, sequence, heartbeat > 0)) this.#events.onGap()
    else if (heartbeat === 0) this.#events.onInvalidation({ keys, tags, all })
  }

  /** True when something of this publisher is missing. */
  #numbering(publisher: string, sequence: number, heartbeat: boolean): boolean {
    const now = performance.now()
    const peer = this.#peers.get(publisher)
    this.#peers.set(publisher, { sequence: Math.max(sequence, peer?.sequence ?? 0), seenAt: now })
    if (!peer) return sequence !== (heartbeat ? 0 : 1) && now >= this.#learnUntil
    return heartbeat ? sequence > peer.sequence : sequence !== peer.sequence + 1
  }

  #confirm(beat: number): void {
    const sentAt = this.#sentAt.get(beat)
    if (sentAt === undefined || beat < this.#firstValidBeat) return
    const until = sentAt + 3 * this.#bus.heartbeatMs
    const now = performance.now()
    if (now >= until) return
    if (!this.suspect) {
      this.confirmedUntil = Math.max(this.confirmedUntil, until)
      return
    }
    this.suspect = false
    this.confirmedUntil = until
    this.#learnUntil = now + 3 * this.#bus.heartbeatMs
    this.#events.onCoherent()
    this.delivery.retryNow()
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** Parts whose names fit into one payload; names never break. */
function split(what: Invalidation, maxBytes: number): { keys: string[]; tags: string[] }[] {
  const parts: { keys: string[]; tags: string[] }[] = [{ keys: [], tags: [] }]
  let bytes = 0
  const place = (name: string, list: 'keys' | 'tags') => {
    const size = Buffer.byteLength(JSON.stringify(name)) + 1
    if (bytes > 0 && bytes + size > maxBytes) {
      parts.push({ keys: [], tags: [] })
      bytes = 0
    }
    bytes += size
    ;(parts.at(-1) as { keys: string[]; tags: string[] })[list].push(name)
  }
  for (const key of what.keys) place(key, 'keys')
  for (const tag of what.tags) place(tag, 'tags')
  return parts
}
