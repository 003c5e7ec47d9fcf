import type { FactoryRun } from './factory-run.ts'
import type { Layers } from './layers.ts'
import type { Lease } from './lease.ts'
import { earlyMs, livesLeft } from './lifetimes.ts'
import type { Ask, Item } from './load.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { limited } from './limited.ts'
import type { Said, SharedLayer } from './shared-layer.ts'
import type { SharedValues } from './shared-values.ts'
import type { Answer } from './single-flight.ts'
import { inSlices } from './slices.ts'
import { endWithStale, standInFrom } from './stand-in.ts'

const firstWaitMs = 20
const maxWaitMs = 200
/** Where a bus tells the end of a load: how often it is asked for all the same, in leases. */
const askAgainAfterLeases = 1 / 3

/** What l2 said of one key: answered from there, to be loaded, or being loaded by another process. */
type Outcome = 'done' | 'missing' | 'taken'

/** Asks l2 for a load: for what is there, and for the right to fill it. */
export class LookUp {
  readonly #shared: SharedLayer
  readonly #values: SharedValues
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers

  constructor(shared: SharedLayer, values: SharedValues, options: ResolvedCacheOptions, layers: Layers) {
    this.#shared = shared
    this.#values = values
    this.#options = options
    this.#layers = layers
  }

  /** Answers from l2 what is fresh there, slice by slice; returns the rest. One key alone waits for another process that loads it. */
  consult(of: FactoryRun, items: readonly Item[], ask: Ask, lease: Lease): Promise<readonly Item[]> {
    return items.length === 1 ? this.#oneOrWait(of, items, ask, lease.token) : this.#many(of, items, ask, lease)
  }

  async #many(of: FactoryRun, items: readonly Item[], ask: Ask, lease: Lease): Promise<readonly Item[]> {
    // A batch may take longer to ask than a lease lasts.
    lease.keep()
    const missing: Item[] = []
    await inSlices(items, this.#options.l2HardTimeoutMs, async (slice) => {
      of.throwIfAborted()
      const outcomes = await Promise.all(slice.map((item) => this.#one(item, ask, lease.token)))
      slice.forEach((item, index) => {
        if (outcomes[index] !== 'done') missing.push(item)
      })
    })
    return missing
  }

  async #oneOrWait(of: FactoryRun, items: readonly Item[], ask: Ask, token: string): Promise<readonly Item[]> {
    const [item] = items as [Item]
    const { flight } = item
    const { waits, coherence } = this.#layers
    const { leaseMs, leaseWaitMs } = this.#options
    let until: number | undefined
    // The end may have been told before it was waited for: the first time is short.
    let waitMs = firstWaitMs
    for (;;) {
      of.throwIfAborted()
      const said = await this.#one(item, ask, token)
      if (said !== 'taken') return said === 'done' ? [] : items
      if (item.standIn && performance.now() < item.standIn.revalidateUntil) endWithStale(flight, item.standIn)
      // A soft timeout may have answered, too: the other process loads, and nobody waits here.
      if (flight.state.is !== 'loading') return []
      const now = performance.now()
      until ??= now + leaseWaitMs
      if (now >= until) return items
      await waits.until(flight.key, Math.min(waitMs * (0.5 + Math.random() / 2), until - now), of.signal)
      waitMs = coherence?.suspect === false ? leaseMs * askAgainAfterLeases : Math.min(maxWaitMs, waitMs * 2)
    }
  }

  /** A key whose invalidation has not reached l2 yet is not asked for. */
  async #one(item: Item, ask: Ask, token: string): Promise<Outcome> {
    const shared = this.#shared
    const { key, tags } = item.flight
    if (shared.delivery.covers(key)) return 'missing'
    const { leaseMs, l2SoftTimeoutMs, l2HardTimeoutMs } = this.#options
    const lookup = { key, lease: { token, leaseMs, earlyMs: earlyMs(ask.lifetimes), awaits: this.#layers.coherence !== undefined }, tags }
    let said: Said
    try {
      const answer = shared.read(lookup)
      const patient = !item.standIn || l2SoftTimeoutMs >= l2HardTimeoutMs
      said = await (patient ? answer : limited(answer, l2SoftTimeoutMs, ({ read }) => shared.giveBack(lookup, read)))
    } catch {
      // Away or slow: loaded without it.
      return 'missing'
    }
    const value = this.#values.of(key, said.read, said.sent)
    return this.#take(item, said, value === undefined || !ask.schema ? value : await this.#values.checked(key, value, ask.schema), ask)
  }

  #take(item: Item, { read, sent }: Said, value: unknown, { lifetimes }: Ask): Outcome {
    const { flight } = item
    const found = value === undefined ? undefined : standInFrom(value, read, sent, lifetimes)
    // What l2 no longer has, l1 must not serve; what it never took (too large) is not its to say.
    if (!item.standIn || item.standIn.shared) item.standIn = found
    if (read.lease === 'held') item.granted = { position: read.position }
    if (!found || read.freshMs <= 0) return read.lease === 'taken' ? 'taken' : 'missing'
    for (const tag of found.tags) flight.tag(tag)
    this.#layers.local.put(flight.key, { pending: flight.pending, ...found, ...livesLeft(read.freshMs, lifetimes), confirmed: true })
    const answer: Answer = { kind: 'hit', value, tags: found.tags, turn: sent.turn, until: Number.POSITIVE_INFINITY }
    if (read.lease !== 'held') {
      flight.settle(answer)
      return 'done'
    }
    flight.answer(answer)
    return 'missing'
  }
}
