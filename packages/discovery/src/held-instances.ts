import { type Instance, instanceKey } from './registry.ts'

/** So many at once are more often a registry that lost its data than instances that left. */
const MANY = 2
const LARGE_PART = 1 / 3
/** While some come back the others are waited for, at most for so many times the usual. */
const LONGEST = 6

interface Held {
  readonly instance: Instance
  since: number
  until: number
  /** How often an outage began it anew. */
  outages: number
}

/**
 * Instances that vanished from a registry many within a time, or all, or while it was not to be had: kept until the registry has gone on without them
 * for some time. Their clients find out what is dead as they always do, by asking.
 */
export class HeldInstances {
  readonly #confirmMs: number
  readonly #held = new Map<string, Held>()
  /** The largest set of the last `confirmMs`: agents that lose their data one by one take it down in small steps. */
  #peak = { size: 0, until: 0 }

  constructor(confirmMs: number) {
    this.#confirmMs = confirmMs
  }

  get size(): number {
    return this.#held.size
  }

  /** When the next one is believed to be gone. */
  get until(): number | undefined {
    let first: number | undefined
    for (const { until } of this.#held.values()) if (first === undefined || until < first) first = until
    return first
  }

  /** The registry's new set with what is held, given the one that was known. `doubtful`: the registry was not to be had until now. */
  merge(
    known: readonly Instance[],
    next: readonly Instance[],
    doubtful: boolean,
    now: number,
  ): { instances: readonly Instance[]; held: number } {
    const present = new Set(next.map(instanceKey))
    let returned = false
    for (const key of present) returned = this.#held.delete(key) || returned
    const gone = known.filter((instance) => !present.has(instanceKey(instance)))
    const fresh = gone.filter((instance) => !this.#held.has(instanceKey(instance)))
    if (known.length >= this.#peak.size || now >= this.#peak.until) this.#peak = { size: known.length, until: now + this.#confirmMs }
    const many = isMany(gone.length, known.length) || isMany(this.#peak.size - next.length, this.#peak.size)
    const hold = this.#confirmMs > 0 && fresh.length > 0 && (next.length === 0 || many || doubtful)
    if (doubtful) this.#startAnew(now)
    else if (returned) this.#waitOn(now)
    this.release(now)
    for (const instance of hold ? fresh : [])
      this.#held.set(instanceKey(instance), { instance, since: now, until: now + this.#confirmMs, outages: 0 })
    return { instances: [...next, ...[...this.#held.values()].map(({ instance }) => instance)], held: hold ? fresh.length : 0 }
  }

  /** A registry that is being filled again is not done. */
  #waitOn(now: number): void {
    for (const held of this.#held.values()) held.until = Math.min(now + this.#confirmMs, held.since + this.#confirmMs * LONGEST)
  }

  /** What a registry said before an outage counts for nothing. */
  #startAnew(now: number): void {
    for (const held of this.#held.values()) {
      if (held.outages++ < LONGEST) Object.assign(held, { since: now, until: now + this.#confirmMs })
    }
  }

  forget(ids: ReadonlySet<string>): void {
    for (const [key, { instance }] of this.#held) if (ids.has(instance.id)) this.#held.delete(key)
  }

  /** Those whose time is over. */
  release(now: number): ReadonlySet<string> {
    const over = new Set<string>()
    for (const [key, { until }] of this.#held) if (until <= now) over.add(key)
    for (const key of over) this.#held.delete(key)
    return over
  }
}

function isMany(gone: number, of: number): boolean {
  return gone >= MANY && gone > of * LARGE_PART
}
