import { orAborted } from '@platform/kernel'
import { decode } from './codec.ts'
import type { SharedRead } from './driver.ts'
import type { FactoryRun } from './factory-run.ts'
import type { Journal } from './journal.ts'
import type { Layers } from './layers.ts'
import type { Lease } from './lease.ts'
import { earlyMs, livesOf } from './lifetimes.ts'
import type { Ask, Item } from './load.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { fits } from './schema.ts'
import { limited, type SharedLayer, sliceSize } from './shared-layer.ts'
import type { Answer } from './single-flight.ts'
import { endWithStale, type StandIn } from './stand-in.ts'

const firstWaitMs = 20
const maxWaitMs = 200
/** Where a bus tells the end of a load: how often it is asked for all the same, in leases. */
const askAgainAfterLeases = 1 / 3

const nothing: Promise<undefined> = Promise.resolve(undefined)

/** An entry of l2. */
export type Entry = StandIn & { readonly freshMs: number }

/** What l2 said of one key: answered from there, to be loaded, or being loaded by another process. */
type Said = 'done' | 'missing' | 'taken'

/** The moment of a question to l2, and which tags were on their way there. */
interface Asked {
  readonly changing: (tag: string) => boolean
  readonly turn: number
  readonly at: number
}

/** Asks l2 and says what its answers are worth. */
export class LookUp {
  readonly #shared: SharedLayer
  readonly #options: ResolvedCacheOptions
  readonly #layers: Layers
  readonly #journal: Journal
  readonly #closed = new AbortController()
  /** Of this turn: not sent yet. */
  readonly #glances = new Map<string, { readonly turn: number; readonly entry: Promise<Entry | undefined> }>()

  constructor(shared: SharedLayer, options: ResolvedCacheOptions, layers: Layers, journal: Journal) {
    this.#shared = shared
    this.#options = options
    this.#layers = layers
    this.#journal = journal
  }

  /**
   * What is fresh in l2, without the wish to fill it: a plain question, sent after whoever asks for the key in this turn has come, so that all of them may
   * have the answer, whatever is invalidated meanwhile. l1 gets it unless it was. Undefined: nothing fresh. Rejects when l2 does not answer.
   */
  glance(key: string, ask: Pick<Ask, 'lifetimes' | 'tags' | 'schema'>): Promise<Entry | undefined> {
    if (this.#shared.delivery.covers(key)) return nothing
    if (ask.schema) return this.#glance(key, ask)
    const turn = this.#layers.turns.now
    const present = this.#glances.get(key)
    if (present?.turn === turn) return present.entry
    const entry = this.#glance(key, ask)
    this.#glances.set(key, { turn, entry })
    return entry
  }

  async #glance(key: string, ask: Pick<Ask, 'lifetimes' | 'tags' | 'schema'>): Promise<Entry | undefined> {
    const { generations, local } = this.#layers
    const asked = this.#moment()
    const pending = local.keeps ? generations.begin(key) : undefined
    try {
      const read = await this.#shared.read({ key, tags: ask.tags })
      if (read.freshMs <= 0) return undefined
      const worth = this.#worthOf(key, read, ask, asked)
      const entry = worth instanceof Promise ? await orAborted(worth, this.#closed.signal) : worth
      if (entry && pending) local.put(key, { pending, ...entry, ...livesOf(entry.freshMs, ask.lifetimes), confirmed: true })
      return entry
    } finally {
      if (this.#glances.get(key)?.turn === asked.turn) this.#glances.delete(key)
      if (pending) generations.end(pending)
    }
  }

  /** Who waits for the verdict of a schema waits no longer. */
  close(error: unknown): void {
    this.#closed.abort(error)
  }

  /** Answers from l2 what is fresh there, slice by slice; returns the rest. One key alone waits for another process that loads it. */
  consult(of: FactoryRun, items: readonly Item[], ask: Ask, lease: Lease): Promise<readonly Item[]> {
    return items.length === 1 ? this.#oneOrWait(of, items, ask, lease.token) : this.#many(of, items, ask, lease)
  }

  async #many(of: FactoryRun, items: readonly Item[], ask: Ask, lease: Lease): Promise<readonly Item[]> {
    // A batch may take longer to ask than a lease lasts.
    lease.keep()
    const missing: Item[] = []
    for (let from = 0; from < items.length; from += sliceSize) {
      of.throwIfAborted()
      const slice = items.slice(from, from + sliceSize)
      const said = await Promise.all(slice.map((item) => this.#one(item, ask, lease.token)))
      slice.forEach((item, index) => {
        if (said[index] !== 'done') missing.push(item)
      })
    }
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
  async #one(item: Item, ask: Ask, token: string): Promise<Said> {
    const shared = this.#shared
    const { key, tags } = item.flight
    if (shared.delivery.covers(key)) return 'missing'
    const { leaseMs, l2SoftTimeoutMs, l2HardTimeoutMs } = this.#options
    const lookup = { key, lease: { token, leaseMs, earlyMs: earlyMs(ask.lifetimes), awaits: this.#layers.coherence !== undefined }, tags }
    const asked = this.#moment()
    let read: SharedRead
    try {
      const answer = shared.read(lookup)
      const patient = !item.standIn || l2SoftTimeoutMs >= l2HardTimeoutMs
      read = await (patient ? answer : limited(answer, l2SoftTimeoutMs, (late) => shared.giveBack(lookup, late)))
    } catch {
      // Away or slow: loaded without it.
      return 'missing'
    }
    const worth = this.#worthOf(item.flight.key, read, ask, asked)
    return this.#take(item, read, worth instanceof Promise ? await worth : worth, ask, asked.turn)
  }

  #take(item: Item, read: SharedRead, found: StandIn | undefined, ask: Ask, turn: number): Said {
    const { flight } = item
    // What l2 no longer has, l1 must not serve; what it never took (too large) is not its to say.
    if (!item.standIn || item.standIn.shared) item.standIn = found
    if (read.lease === 'held') item.granted = { position: read.position }
    if (!found || read.freshMs <= 0) return read.lease === 'taken' ? 'taken' : 'missing'
    for (const tag of found.tags) flight.tag(tag)
    const { local } = this.#layers
    if (local.keeps) local.put(flight.key, { pending: flight.pending, ...found, ...livesOf(read.freshMs, ask.lifetimes), confirmed: true })
    const answer: Answer = { kind: 'hit', value: found.value, tags: found.tags, turn, until: found.freshUntil }
    if (read.lease !== 'held') {
      flight.settle(answer)
      return 'done'
    }
    flight.answer(answer)
    return 'missing'
  }

  #moment(): Asked {
    return { changing: this.#shared.delivery.view(), turn: this.#layers.turns.now, at: performance.now() }
  }

  /** What l2 said, as something that can be served; undefined when it has nothing that counts. At once, unless a schema has to be asked. */
  #worthOf(
    key: string,
    read: SharedRead,
    { lifetimes, schema }: Pick<Ask, 'lifetimes' | 'schema'>,
    { changing, turn, at }: Asked,
  ): Entry | undefined | Promise<Entry | undefined> {
    const options = this.#options
    if (read.body === undefined || read.tags.some(changing)) return undefined
    const freshUntil = performance.now() + read.freshMs
    const { errorMs, revalidateMs } = lifetimes
    try {
      const value = this.#layers.local.own(decode(options.serializer, read.body))
      const until = { freshUntil, revalidateUntil: freshUntil + revalidateMs, errorUntil: freshUntil + errorMs }
      const found: Entry = { value, tags: read.tags, freshMs: read.freshMs, ...until, turn, vouchedAt: at, shared: true }
      if (!schema) return found
      return fits(schema, value, options.l2HardTimeoutMs).then(
        () => found,
        (err: unknown) => this.#refuse(key, err),
      )
    } catch (err) {
      return this.#refuse(key, err)
    }
  }

  #refuse(key: string, err: unknown): undefined {
    this.#journal.fault('l2', 'an entry of l2 could not be read and is removed', err)
    this.#shared.delivery.add({ keys: [key], tags: [], all: false }).catch(() => undefined)
  }
}
