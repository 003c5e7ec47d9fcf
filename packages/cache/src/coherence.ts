import { randomUUID } from 'node:crypto'
import { backgroundInterval, backgroundTimeout, jittered } from '@platform/kernel'
import { type BusMessage, formatMessage, parseMessage, splitNames } from './bus-message.ts'
import { Delivery } from './delivery.ts'
import type { Publisher } from './driver.ts'
import type { BusTransport, Invalidation, InvalidationBus, Telling } from './invalidation.ts'
import { limited } from './limited.ts'

/** A publisher that was silent for so long is forgotten; should it come back, its first message counts as a gap. */
const peerIdleMs = 600_000
/** More publishers than this at once are not real; the longest known is forgotten, as if it had been silent. */
const maxPeers = 10_000

/** After a heartbeat that could not be sent, while nothing is confirmed: the bus may be about to connect. Doubled up to the interval of heartbeats, or this. */
const firstRetryMs = 25
const longestRetryMs = 1_000

const noNames: Invalidation = { keys: [], tags: [], all: false }
/** What a payload needs beside the names. */
const frameBytes = 160

export interface CoherenceEvents {
  onInvalidation(what: Invalidation): void
  /** Loads of these keys have ended in another process. */
  onEnded(keys: readonly string[]): void
  /** Copies in l1 are no longer vouched for. */
  onSuspect(cause: string): void
  /** Messages arrive again; what was stored before may have missed some. */
  onCoherent(): void
  /** A message of a peer is missing although the connection stood. */
  onGap(): void
  /** Something on the channel that no cache sent. */
  onForeign(): void
  /** The bus will never take an invalidation by its names. */
  onRefused(error: unknown): void
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
  /** Under which it publishes. */
  readonly id: string = randomUUID()
  readonly #bus: InvalidationBus
  readonly #events: CoherenceEvents
  readonly #transport: BusTransport
  /** On which l2 publishes, where it stands on the server of the bus. */
  readonly #channel: string | undefined
  readonly #publish: (payload: string) => Promise<void>
  readonly #peers = new Map<string, { sequence: number; seenAt: number }>()
  readonly #timeoutMs: number
  readonly #maxNamesBytes: number
  readonly #timer: NodeJS.Timeout
  #sequence = 0
  /** What heartbeats tell: the server has it, so a peer that has not seen it missed it. */
  #acknowledged = 0
  #beat = 0
  #firstValidBeat = 1
  #sentAt = new Map<number, number>()
  #beating = false
  /** Heartbeats that could not be sent, since the last one that could. */
  #unsent = 0
  #retry: NodeJS.Timeout | undefined
  /** Until here an unknown publisher may start anywhere in its numbering: it was there before us. */
  #learnUntil: number
  #waiting: PromiseWithResolvers<void>[] = []
  #closed: unknown

  constructor(bus: InvalidationBus, publisher: Publisher | undefined, namespace: string, timeoutMs: number, events: CoherenceEvents) {
    this.#bus = bus
    this.#timeoutMs = timeoutMs
    this.#events = events
    this.#maxNamesBytes = bus.maxPayloadBytes - frameBytes
    this.#learnUntil = Number.POSITIVE_INFINITY
    this.delivery = new Delivery({
      timeoutMs,
      send: (what) => this.#tell(what).then(() => true),
      onDelivered: () => undefined,
      onRefused: (error) => events.onRefused(error),
    })
    this.#transport = bus.open({
      namespace,
      onMessage: (payload) => this.#receive(payload),
      onLost: () => this.lose('subscription lost'),
    })
    const { place } = this.#transport
    if (publisher && place?.server === publisher.server) {
      this.#channel = place.channel
      this.#publish = (payload) => publisher.publish(place.channel, payload)
    } else this.#publish = (payload) => this.#transport.publish(payload)
    this.#timer = backgroundInterval(() => this.#tick(), bus.heartbeatMs)
    void this.#sendHeartbeat()
  }

  /** Resolves when the state is `coherent`; rejects at close. */
  ready(): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed as Error)
    if (!this.suspect) return Promise.resolve()
    const waiter = Promise.withResolvers<void>()
    this.#waiting.push(waiter)
    return waiter.promise
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

  /** Whoever waits elsewhere for these loads may ask again. Not waited for; when it is lost, he asks a little later by himself. */
  tellEnded(keys: readonly string[]): void {
    if (this.suspect) return
    for (const part of splitNames({ ...noNames, keys }, this.#maxNamesBytes))
      this.#send({ kind: 'ended', sequence: this.#acknowledged, beat: 0, ...part, all: false }).catch(() => undefined)
  }

  /**
   * Lets l2 tell the others in the step in which it takes an invalidation, where it can: then nothing can come between. Its steps and all other messages
   * go out in one order, that of their numbers. Resolves to whether it has told them.
   */
  async inOneStep(send: (telling?: Telling) => Promise<boolean | void>): Promise<boolean> {
    const channel = this.#channel
    if (channel === undefined) return send().then(() => false)
    let last = 0
    const messages = (what: Invalidation): string[] =>
      splitNames(what, this.#maxNamesBytes).map((part) => {
        last = ++this.#sequence
        return this.#format({ kind: 'invalidation', sequence: last, beat: 0, ...part, all: what.all })
      })
    const told = (await send({ channel, messages })) === true
    if (told) this.#acknowledged = Math.max(this.#acknowledged, last)
    return told
  }

  /** The number of the last message that the server has taken: all that was delivered was told by then. */
  get acknowledged(): number {
    return this.#acknowledged
  }

  /** Whether all that a publisher had told up to this number counts here. */
  hasHeard(publisher: string, sequence: number): boolean {
    return !this.suspect && (this.#peers.get(publisher)?.sequence ?? -1) >= sequence
  }

  async close(error: unknown): Promise<void> {
    this.#closed = error
    clearInterval(this.#timer)
    clearTimeout(this.#retry)
    this.delivery.close(error)
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error)
    await this.#transport.close()
  }

  #tick(): void {
    const now = performance.now()
    if (now >= this.confirmedUntil) this.lose('no heartbeat came back')
    for (const [id, peer] of this.#peers) if (now - peer.seenAt > peerIdleMs) this.#peers.delete(id)
    void this.#sendHeartbeat()
  }

  async #sendHeartbeat(): Promise<void> {
    if (this.#beating || this.#closed !== undefined) return
    this.#beating = true
    clearTimeout(this.#retry)
    const beat = ++this.#beat
    this.#sentAt.set(beat, performance.now())
    for (const old of this.#sentAt.keys()) if (old < beat - 8) this.#sentAt.delete(old)
    try {
      await this.#send({ kind: 'heartbeat', sequence: this.#acknowledged, beat, ...noNames })
      this.#unsent = 0
    } catch {
      // Tried again; a missing echo is what counts.
      this.#unsent++
    }
    this.#beating = false
    if (!this.suspect || this.#closed !== undefined) return
    if (beat < this.#firstValidBeat) void this.#sendHeartbeat()
    else if (this.#unsent > 0) {
      const waitMs = Math.min(longestRetryMs, this.#bus.heartbeatMs, firstRetryMs * 2 ** Math.min(this.#unsent, 10))
      this.#retry = backgroundTimeout(() => void this.#sendHeartbeat(), jittered(waitMs))
    }
  }

  /** A failed attempt leaves a hole in the numbering: receivers flush, which is right, since nobody knows what arrived. */
  async #tell(what: Invalidation): Promise<void> {
    for (const part of splitNames(what, this.#maxNamesBytes)) {
      const sequence = ++this.#sequence
      await this.#send({ kind: 'invalidation', sequence, beat: 0, ...part, all: what.all })
      this.#acknowledged = Math.max(this.#acknowledged, sequence)
    }
  }

  async #send(message: Omit<BusMessage, 'publisher'>): Promise<void> {
    await limited(this.#publish(this.#format(message)), this.#timeoutMs)
  }

  #format(message: Omit<BusMessage, 'publisher'>): string {
    return formatMessage({ ...message, publisher: this.id })
  }

  #receive(payload: string): void {
    const message = parseMessage(payload)
    if (!message) return this.#events.onForeign()
    const { kind, publisher, sequence, beat, keys } = message
    if (kind === 'ended') this.#events.onEnded(keys)
    if (publisher === this.id) {
      if (kind === 'heartbeat') this.#confirm(beat)
      return
    }
    if (this.#numbering(publisher, sequence, kind !== 'invalidation')) this.#events.onGap()
    else if (kind === 'invalidation') this.#events.onInvalidation(message)
  }

  /** True when something of this publisher is missing. `told`: the message is not numbered itself, but tells the last number. */
  #numbering(publisher: string, sequence: number, told: boolean): boolean {
    const now = performance.now()
    const peer = this.#peers.get(publisher)
    if (!peer && this.#peers.size >= maxPeers) this.#peers.delete(this.#peers.keys().next().value as string)
    this.#peers.set(publisher, { sequence: Math.max(sequence, peer?.sequence ?? 0), seenAt: now })
    if (!peer) return sequence !== (told ? 0 : 1) && now >= this.#learnUntil
    return told ? sequence > peer.sequence : sequence !== peer.sequence + 1
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
    for (const waiter of this.#waiting.splice(0)) waiter.resolve()
  }
}
