import type { DeadLetter, Envelope, Lease, Receive } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Clock } from './clock.ts'

export interface Member {
  readonly receive: Receive
  readonly concurrency: number
  busy: number
  paused: boolean
  readonly leases: Set<{ revoke(): void }>
}

interface Entry {
  readonly envelope: Envelope
  /** Tries that have begun. */
  attempts: number
  replays: number
}

/** Waiting messages of one key. While `holder` is set, none of them is offered. */
interface Lane {
  readonly waiting: Entry[]
  holder: Entry | undefined
}

interface Dead {
  readonly entry: Entry
  readonly reason: string
  readonly at: Date
}

/** One group of one destination: a list of what may be delivered, and for ordered groups one lane per key. */
export class Group {
  readonly ordered: boolean
  readonly broadcast: boolean
  expiresAfterMs: number | undefined
  readonly #clock: Clock
  readonly #members: Member[] = []
  #joins = 0
  readonly #lanes = new Map<string, Lane>()
  readonly #dead: Dead[] = []
  #offered: Entry[] = []
  #head = 0
  #turn = 0

  constructor(options: { ordered: boolean; broadcast: boolean; clock: Clock }) {
    this.ordered = options.ordered
    this.broadcast = options.broadcast
    this.#clock = options.clock
  }

  enqueue(envelope: Envelope): void {
    const entry = { envelope, attempts: 0, replays: 0 }
    const lane = this.#laneOf(entry)
    if (lane === undefined) this.#offered.push(entry)
    else {
      lane.waiting.push(entry)
      this.#advance(lane)
    }
    this.#pump()
  }

  /** How many members have ever come. */
  get joins(): number {
    return this.#joins
  }

  join(member: Member): void {
    this.#joins += 1
    this.#members.push(member)
    this.#pump()
  }

  leave(member: Member): void {
    const index = this.#members.indexOf(member)
    if (index >= 0) this.#members.splice(index, 1)
    for (const lease of member.leases) lease.revoke()
    this.#pump()
  }

  get memberCount(): number {
    return this.#members.length
  }

  /** What no member has. */
  get waiting(): number {
    let waiting = this.#offered.length - this.#head
    for (const lane of this.#lanes.values()) waiting += lane.waiting.length
    return waiting
  }

  /** All that it keeps, dead letters included. */
  get size(): number {
    return this.waiting + this.#dead.length
  }

  get deadCount(): number {
    return this.#dead.length
  }

  deadLetters(limit: number): DeadLetter[] {
    return this.#dead.slice(0, limit).map(({ entry, reason, at }) => ({
      id: entry.envelope.id,
      key: entry.envelope.key,
      body: entry.envelope.body,
      headers: entry.envelope.headers,
      publishedAt: new Date(entry.envelope.publishedAt),
      attempt: entry.attempts,
      reason,
      deadAt: at,
      replays: entry.replays,
      parked: entry.envelope.key !== undefined && this.#lanes.get(entry.envelope.key)?.holder === entry,
    }))
  }

  replay(id: string): boolean {
    const index = this.#dead.findIndex(({ entry }) => entry.envelope.id === id)
    const dead = this.#dead[index]
    if (dead === undefined) return false
    this.#dead.splice(index, 1)
    dead.entry.attempts = 0
    dead.entry.replays += 1
    const lane = this.#laneOf(dead.entry)
    if (lane === undefined || lane.holder === dead.entry) this.#offerFirst(dead.entry)
    else {
      lane.waiting.unshift(dead.entry)
      this.#advance(lane)
    }
    this.#pump()
    return true
  }

  discard(id: string): boolean {
    const index = this.#dead.findIndex(({ entry }) => entry.envelope.id === id)
    const [dead] = index < 0 ? [] : this.#dead.splice(index, 1)
    if (dead === undefined) return false
    const lane = this.#laneOf(dead.entry)
    if (lane?.holder === dead.entry) this.#freeLane(dead.entry.envelope.key as string, lane)
    this.#pump()
    return true
  }

  release(key: string): boolean {
    const lane = this.#lanes.get(key)
    if (lane?.holder === undefined || !this.#dead.some(({ entry }) => entry === lane.holder)) return false
    this.#freeLane(key, lane)
    this.#pump()
    return true
  }

  #pump(): void {
    while (this.#head < this.#offered.length) {
      const member = this.#nextMember()
      if (member === undefined) break
      const entry = this.#offered[this.#head] as Entry
      this.#head += 1
      this.#deliver(entry, member)
    }
    if (this.#head > 1024 || this.#head === this.#offered.length) {
      this.#offered = this.#offered.slice(this.#head)
      this.#head = 0
    }
  }

  /** Members take turns. */
  #nextMember(): Member | undefined {
    for (let step = 0; step < this.#members.length; step += 1) {
      this.#turn = (this.#turn + 1) % this.#members.length
      const member = this.#members[this.#turn] as Member
      if (!member.paused && member.busy < member.concurrency) return member
    }
    return undefined
  }

  #deliver(entry: Entry, member: Member): void {
    entry.attempts += 1
    member.busy += 1
    const lost = new AbortController()
    let open = true
    const settle = (then: () => void): Promise<void> => {
      if (!open) return Promise.reject(new QueueError('ERR_QUEUE_LEASE_LOST', { messageId: entry.envelope.id }))
      open = false
      member.leases.delete(revocable)
      then()
      this.#pump()
      return Promise.resolve()
    }
    const revocable = {
      revoke: () => {
        open = false
        this.#offerFirst(entry)
        lost.abort(new QueueError('ERR_QUEUE_LEASE_LOST', { messageId: entry.envelope.id }))
      },
    }
    const lease: Lease = {
      envelope: entry.envelope,
      attempt: entry.attempts,
      begun: entry.attempts - 1,
      alone: false,
      signal: lost.signal,
      ack: () => settle(() => this.#free(entry)),
      retry: (delayMs) => settle(() => void this.#clock.after(delayMs, () => this.#offerAgain(entry))),
      deadLetter: (reason) => settle(() => this.#bury(entry, reason)),
      release: () =>
        settle(() => {
          entry.attempts -= 1
          this.#offerFirst(entry)
        }),
    }
    member.leases.add(revocable)
    void member.receive(lease).finally(() => {
      member.busy -= 1
      this.#pump()
    })
  }

  #bury(entry: Entry, reason: string): void {
    // The lane keeps its holder: that is what parking is.
    this.#dead.push({ entry, reason, at: new Date() })
  }

  #offerAgain(entry: Entry): void {
    if (this.ordered) this.#offerFirst(entry)
    else this.#offered.push(entry)
    this.#pump()
  }

  #offerFirst(entry: Entry): void {
    this.#offered.splice(this.#head, 0, entry)
  }

  #laneOf({ envelope: { key } }: Entry): Lane | undefined {
    if (!this.ordered || key === undefined) return undefined
    let lane = this.#lanes.get(key)
    if (lane === undefined) this.#lanes.set(key, (lane = { waiting: [], holder: undefined }))
    return lane
  }

  #free(entry: Entry): void {
    const lane = this.#laneOf(entry)
    if (lane !== undefined) this.#freeLane(entry.envelope.key as string, lane)
  }

  #freeLane(key: string, lane: Lane): void {
    lane.holder = undefined
    if (lane.waiting.length === 0) this.#lanes.delete(key)
    else this.#advance(lane)
  }

  #advance(lane: Lane): void {
    if (lane.holder !== undefined) return
    lane.holder = lane.waiting.shift()
    if (lane.holder !== undefined) this.#offered.push(lane.holder)
  }
}
