import { Coherence } from './coherence.ts'
import { Generations } from './generations.ts'
import type { Invalidation } from './invalidation.ts'
import type { Journal } from './journal.ts'
import { LocalLayer } from './local-layer.ts'
import type { ResolvedCacheOptions } from './options.ts'
import { SharedLayer } from './shared-layer.ts'
import { Turns } from './turns.ts'
import { Waits } from './waits.ts'

/** l1, l2 and the bus of one cache, and what they tell each other. */
export class Layers {
  readonly generations: Generations = new Generations()
  readonly turns: Turns = new Turns()
  readonly local: LocalLayer
  readonly shared: SharedLayer | undefined
  readonly coherence: Coherence | undefined
  readonly waits: Waits = new Waits()
  readonly #journal: Journal

  constructor(options: ResolvedCacheOptions, journal: Journal) {
    const { l1, l2, bus } = options
    this.#journal = journal
    this.local = new LocalLayer(l1, this.generations, {
      suspectTtlMs: options.suspectTtlMs,
      suspect: options.suspect,
      values: options.values,
      alone: !l2 && !bus,
      keepsFallback: options.lifetimes.errorMs > 0,
    })
    if (l2) this.shared = this.#openShared(l2, options)
    if (!bus) return
    try {
      this.coherence = this.#openBus(bus, options)
    } catch (error) {
      // Nobody gets this cache, so nobody could close what stands already.
      void this.shared?.close(error)
      throw error
    }
    this.local.coherence = this.coherence
  }

  /** Here first, then l2, and with it or after it the others: whoever hears of it must not find the old entry in l2. */
  async invalidate(what: Invalidation): Promise<void> {
    this.invalidateHere(what)
    let told: boolean | undefined
    try {
      told = await this.shared?.delivery.add(what)
    } catch (error) {
      this.tellOthers(what)
      throw error
    }
    if (!told) await this.coherence?.delivery.add(what)
  }

  invalidateHere(what: Invalidation): void {
    this.#journal.counts.invalidations.local++
    this.local.invalidate(what)
  }

  /** Not waited for. */
  tellOthers(what: Invalidation): void {
    this.coherence?.delivery.add(what).catch(() => undefined)
  }

  /** Invalidations that l2 or the bus has not taken yet. */
  get pending(): number {
    return (this.shared?.delivery.size ?? 0) + (this.coherence?.delivery.size ?? 0)
  }

  async idle(): Promise<void> {
    await Promise.all([this.shared?.delivery.idle(), this.coherence?.delivery.idle()])
  }

  /** What they wait for may have been told already, and missed. */
  #wakeAll(): void {
    this.waits.wake({ keys: [], tags: [], all: true })
  }

  #openShared(l2: NonNullable<ResolvedCacheOptions['l2']>, { namespace, serializer, l2HardTimeoutMs }: ResolvedCacheOptions): SharedLayer {
    const journal = this.#journal
    let told = false
    const store = l2.open({
      namespace,
      format: serializer.name,
      binary: serializer.binary === true,
      onError: (err) => {
        if (!told) journal.log('warn', 'l2 is not reachable', { err, driver: l2.name })
        told = true
      },
      onFault: (fault) => journal.fault('l2', fault),
    })
    return new SharedLayer(store, l2HardTimeoutMs, {
      // The others may have read the old entry between the first message and now.
      onDelivered: (what, attempts, told) => {
        if (attempts > 1 && !told) this.tellOthers(what)
      },
      inOneStep: (send) => (this.coherence ? this.coherence.inOneStep(send) : send().then(() => false)),
      onEnded: (keys) => this.coherence?.tellEnded(keys),
      onAsk: () => this.turns.end(),
      onRefused: (err) =>
        journal.log('error', 'l2 refuses an invalidation: the whole namespace goes instead, and l2 is not read until then', { err }),
    })
  }

  #openBus(bus: NonNullable<ResolvedCacheOptions['bus']>, { namespace, l2HardTimeoutMs }: ResolvedCacheOptions): Coherence {
    const journal = this.#journal
    return new Coherence(bus, this.shared?.publisher, namespace, l2HardTimeoutMs, {
      onInvalidation: (what) => {
        journal.counts.invalidations.bus++
        this.local.invalidate(what)
        this.waits.wake(what)
      },
      onEnded: (keys) => this.waits.wake({ keys, tags: [], all: false }),
      onSuspect: (cause) => {
        journal.log('warn', 'the bus is not confirmed', { bus: bus.name, cause })
        this.local.distrust()
        this.#wakeAll()
      },
      onCoherent: () => {
        journal.log('info', 'the bus is confirmed', { bus: bus.name })
        this.local.flush()
      },
      onGap: () => {
        journal.counts.invalidations.gap++
        journal.log('warn', 'a message of the bus is missing: l1 is flushed', { bus: bus.name })
        this.local.flush()
        this.#wakeAll()
      },
      onForeign: () => journal.fault('bus', 'a message of the bus is not ours and is ignored'),
      onRefused: (err) => journal.log('error', 'the bus refuses an invalidation: the whole namespace goes instead', { err, bus: bus.name }),
    })
  }
}
