import { Availability } from './availability.ts'
import { Delivery } from './delivery.ts'
import type { Publisher, SharedLookup, SharedRead, SharedStore, SharedWrite } from './driver.ts'
import type { Invalidation, Telling } from './invalidation.ts'
import { limited } from './limited.ts'
import { type Asking, Questions, type Sent } from './questions.ts'

/** What l2 said of one look-up, and when it was asked. */
export interface Said {
  readonly read: SharedRead
  readonly sent: Sent
}

export interface SharedLayerEvents {
  onDelivered(what: Invalidation, attempts: number, told: boolean): void
  onRefused(error: unknown): void
  /** Entries are about to be asked for. Returns the turn that ends. */
  onAsk(): number
  /** Leases have been given up of which other processes wait for the end. */
  onEnded(keys: readonly string[]): void
  /** Something is about to be invalidated, and may be told in the same step. Resolves to whether it was. */
  inOneStep(send: (telling?: Telling) => Promise<boolean | void>): Promise<boolean>
}

/** l2 behind a time limit and a pause after repeated failures. Invalidations that do not get through wait here, and what they name counts as absent. */
export class SharedLayer {
  readonly delivery: Delivery
  readonly #store: SharedStore
  readonly #timeoutMs: number
  readonly #availability: Availability
  readonly #questions: Questions
  readonly #onEnded: (keys: readonly string[]) => void
  readonly #inOneStep: SharedLayerEvents['inOneStep']

  constructor(store: SharedStore, timeoutMs: number, events: SharedLayerEvents) {
    this.#store = store
    this.#timeoutMs = timeoutMs
    this.#onEnded = (keys) => events.onEnded(keys)
    this.#inOneStep = (send) => events.inOneStep(send)
    const delivery = new Delivery({
      ...events,
      timeoutMs,
      send: (what) => events.inOneStep((telling) => limited(store.invalidate(what, telling), timeoutMs)),
    })
    this.delivery = delivery
    this.#availability = new Availability(() => delivery.retryNow())
    this.#questions = new Questions({
      store,
      timeoutMs,
      availability: this.#availability,
      onAsk: (at) => ({ turn: events.onAsk(), at, pending: delivery.pending() }),
      onLate: (lookup, read) => this.giveBack(lookup, read),
    })
  }

  /** What is asked in one go is one question, whoever asks. A lease that arrives too late is given back. */
  ask(asking: Asking): void {
    this.#questions.ask(asking)
  }

  read(lookup: SharedLookup): Promise<Said> {
    return new Promise((resolve, failed) => this.ask({ ...lookup, said: (read, sent) => resolve({ read, sent }), failed }))
  }

  /** Grows when what has been asked is sent: until then, what is asked goes along with it. */
  get sendings(): number {
    return this.#questions.sendings
  }

  giveBack({ key, lease }: SharedLookup, read: SharedRead): void {
    if (lease && read.lease === 'held') this.release([key], lease.token)
  }

  /** Whether it was stored. */
  async fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<boolean> {
    const { stored, awaited } = await this.#call(() => this.#store.fill(write))
    if (awaited) this.#onEnded([write.key])
    return stored
  }

  renew(keys: readonly string[], token: string, leaseMs: number, yielded: boolean): Promise<void> {
    return this.#call(() => this.#store.renew(keys, token, leaseMs, yielded))
  }

  /** Not waited for: a lease that stays costs a wait of the others. */
  release(keys: readonly string[], token: string): void {
    this.#call(() => this.#store.release(keys, token)).then(
      (awaited) => {
        if (awaited.length > 0) this.#onEnded(awaited)
      },
      () => undefined,
    )
  }

  /** Resolves to whether the other processes have been told. */
  write(write: SharedWrite): Promise<boolean> {
    return this.#inOneStep((telling) => this.#call(() => this.#store.write(write, telling)))
  }

  /** Removes what cannot be read here. Others are not told: what they have of the key may be right. */
  discard(key: string): void {
    this.#call(() => this.#store.invalidate({ keys: [key], tags: [], all: false })).catch(() => undefined)
  }

  get publisher(): Publisher | undefined {
    return this.#store.publisher
  }

  ping(): Promise<void> {
    return limited(this.#store.ping(), this.#timeoutMs)
  }

  /** Who still waits for an answer is told at once. */
  async close(error: unknown): Promise<void> {
    this.delivery.close(error)
    this.#questions.close(error)
    await this.#store.close()
  }

  async #call<T>(run: () => Promise<T>): Promise<T> {
    const standing = this.#availability.enter()
    try {
      const result = await limited(run(), this.#timeoutMs)
      this.#availability.answered()
      return result
    } catch (error) {
      this.#availability.failed(error, standing)
      throw error
    }
  }
}
