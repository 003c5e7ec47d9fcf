import type { Verdict } from '@platform/resilience'
import { AliasTable } from './alias-table.ts'
import type { Balancer } from './balancer.ts'
import type { Ejection } from './ejection.ts'
import { Endpoint } from './endpoint.ts'
import type { ProbeResult } from './probes.ts'
import { type Instance, instanceKey } from './registry.ts'
import type { LeavingCause } from './response-signals.ts'

/** Draws for one that may be asked, before a pick looks at all or does without a second. */
const DRAWS = 8
/** Requests to an instance that left may run on for so long; what was learnt of it is kept for so long, of so many. */
const RETIRE_MS = 60_000
const REMEMBERED_MS = 600_000
const REMEMBERED = 1000
/** Answers that the usual time is averaged over, and how many it takes to know it. */
const USUAL_OF = 50
const KNOWN_AFTER = 5
/** How long a 429 without Retry-After rests, and the longest that one may ask for. */
const REST_MS = 1000
const LONGEST_REST_MS = 300_000
const LEFT_MS = 60_000
/** Probes in a row that leave an instance out; one good one takes it back. */
const FAILED_PROBES = 2

interface EndpointSetOptions {
  readonly balancer: Balancer
  readonly ejection: Ejection
  /** Of the caller; undefined: zones do not matter. */
  readonly zone: string | undefined
  readonly maxConcurrent: number
  onEjected(instance: Instance, forMs: number): void
  onBack(instance: Instance): void
  onMisdirected(instance: Instance): void
}

/** The instances that a client may ask, what is known of each, and whom the next request goes to. */
export class EndpointSet {
  readonly #options: EndpointSetOptions
  /** Left the set: they finish requests, and may come back. */
  readonly #departed = new Map<string, { endpoint: Endpoint; at: number }>()
  readonly #closing = new Set<Promise<void>>()
  #endpoints: readonly Endpoint[] = []
  #table = new AliasTable([1])
  /** How many there are, if all have the same share. */
  #alike: number | undefined
  #usualMs = 0
  #answers = 0
  /** Who is out is counted anew after this time. */
  #countedUntil = 0
  #panic = false
  /** Ejected, and not yet told to be back. */
  readonly #out = new Set<Endpoint>()

  constructor(options: EndpointSetOptions) {
    this.#options = options
  }

  get all(): readonly Endpoint[] {
    return this.#endpoints
  }

  follow(instances: readonly Instance[]): void {
    const now = performance.now()
    const known = new Map(this.#endpoints.map((endpoint) => [instanceKey(endpoint.instance), endpoint]))
    const kept = instances.filter((instance) => known.has(instanceKey(instance))).length
    // A newcomer starts in the middle: at 0 it would draw everything at once. It warms up if most of the others have.
    const middle = median(this.#endpoints.map((endpoint) => endpoint.ewmaMs(now))) ?? 1
    const cold = kept * 2 >= instances.length && kept > 0
    this.#endpoints = instances.map((instance) => {
      const key = instanceKey(instance)
      const endpoint = known.get(key) ?? this.#departed.get(key)?.endpoint.revive(instance) ?? new Endpoint(instance, middle, cold)
      known.delete(key)
      this.#departed.delete(key)
      endpoint.instance = instance
      return endpoint
    })
    for (const [key, endpoint] of known) this.#retire(key, endpoint, now)
    this.#weigh(now)
  }

  /** One that was not tried, as long as there is one. Undefined when there is none, or none with room. */
  pick(tried: ReadonlySet<Endpoint>): Endpoint | undefined {
    const now = performance.now()
    if (now >= this.#countedUntil) this.#count(now)
    const first = this.#first(tried, now)
    if (first === undefined) return this.#any(tried, now)
    const second = this.#second(first, tried, now)
    return second !== undefined && this.#options.balancer.prefersSecond(first, second, now) ? second : first
  }

  /** Whether a further attempt has somebody else to go to. */
  hasOther(tried: ReadonlySet<Endpoint>): boolean {
    const now = performance.now()
    return this.#endpoints.some((endpoint) => this.#mayBeAsked(endpoint, tried, now))
  }

  record(endpoint: Endpoint, verdict: Verdict, tookMs: number): void {
    if (verdict === 'answered') this.#usualMs += (tookMs - this.#usualMs) / Math.min(++this.#answers, USUAL_OF)
    const failed = endpoint.record(verdict, tookMs, this.#answers < KNOWN_AFTER ? undefined : this.#usualMs)
    if (failed !== true) return
    const now = performance.now()
    for (const out of this.#options.ejection.outliers(endpoint, this.#endpoints, now)) {
      this.#out.add(out)
      this.#options.onEjected(out.instance, out.ejectedUntil - now)
      this.#changed()
    }
  }

  rest(endpoint: Endpoint, askedMs: number | undefined): void {
    endpoint.restsUntil = performance.now() + Math.min(LONGEST_REST_MS, askedMs ?? REST_MS)
    this.#changed()
  }

  /** `cause` is what an answer says of its instance; undefined: that it is well. */
  leave(endpoint: Endpoint, cause: LeavingCause | undefined): void {
    const now = performance.now()
    const isLeft = endpoint.leftUntil > now
    if (cause === undefined ? !isLeft : isLeft && cause === endpoint.leftFor) return
    endpoint.leftUntil = cause === undefined ? 0 : now + LEFT_MS
    if (cause !== undefined) endpoint.leftFor = cause
    if (cause === 'another service answers there') this.#options.onMisdirected(endpoint.instance)
    this.#changed()
  }

  /** A good answer to a probe ends an ejection; failed ones leave an instance out for `forMs` and until there is a good one. */
  probed(endpoint: Endpoint, result: ProbeResult, forMs: number): void {
    if (result === 'busy') return
    if (result !== 'failed') {
      const wasOut = failsProbes(endpoint) || endpoint.ejectedUntil > performance.now()
      endpoint.failedProbes = 0
      endpoint.ejectedUntil = 0
      if (wasOut) this.#changed()
      this.leave(endpoint, result === 'well' ? undefined : result)
    } else if (++endpoint.failedProbes === FAILED_PROBES) {
      this.#out.add(endpoint)
      this.#options.onEjected(endpoint.instance, forMs)
      this.#changed()
    }
  }

  reasonFor(endpoint: Endpoint): string {
    const now = performance.now()
    if (now >= this.#countedUntil) this.#count(now)
    if (endpoint.leftUntil > now) return endpoint.leftFor
    if (endpoint.restsUntil > now) return 'resting, as it asked'
    if (failsProbes(endpoint)) return this.#panic ? 'fails its probes, used because too few are left' : 'fails its probes'
    if (endpoint.ejectedUntil > now) return this.#panic ? 'ejected, used because too few are left' : `ejected after ${endpoint.ejectedFor}`
    if (endpoint.failuresInRow > 0) return `failures in a row: ${endpoint.failuresInRow}`
    return endpoint.warmth(now) < 1 ? 'warming up' : 'in use'
  }

  async close(timeoutMs: number): Promise<void> {
    for (const endpoint of this.#endpoints) this.#closing.add(endpoint.close(timeoutMs, true))
    for (const { endpoint } of this.#departed.values()) this.#closing.add(endpoint.close(timeoutMs, true))
    await Promise.all(this.#closing)
  }

  #retire(key: string, endpoint: Endpoint, now: number): void {
    const closing = endpoint.close(RETIRE_MS, false).finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
    this.#departed.set(key, { endpoint, at: now })
    for (const [eldest, { at }] of this.#departed) {
      if (this.#departed.size <= REMEMBERED && now - at < REMEMBERED_MS) break
      this.#departed.delete(eldest)
    }
  }

  /** Drawn by weight, calm and warm; after some draws one that is not. */
  #first(tried: ReadonlySet<Endpoint>, now: number): Endpoint | undefined {
    if (this.#endpoints.length === 0) return undefined
    const { balancer } = this.#options
    let other: Endpoint | undefined
    for (let draw = 0; draw < DRAWS; draw++) {
      const endpoint = this.#endpoints[this.#table.draw(balancer.next(this.#alike))]!
      if (!this.#mayBeAsked(endpoint, tried, now)) continue
      if (!(balancer.avoidsFailing && endpoint.failedFreshly(now)) && Math.random() < endpoint.warmth(now)) return endpoint
      other ??= endpoint
    }
    return other
  }

  #second(first: Endpoint, tried: ReadonlySet<Endpoint>, now: number): Endpoint | undefined {
    const { length } = this.#endpoints
    const zone = zoneOf(first)
    for (let draw = 0; draw < DRAWS && length > 1; draw++) {
      const endpoint = this.#endpoints[Math.floor(Math.random() * length)]!
      // Beside a failing instance a slow one would look good.
      if (endpoint === first || endpoint.failedFreshly(now) || !this.#mayBeAsked(endpoint, tried, now)) continue
      if ((this.#options.zone === undefined || zoneOf(endpoint) === zone) && Math.random() < endpoint.warmth(now)) return endpoint
    }
    return undefined
  }

  /** When chance finds none: whoever may be asked, else whoever was tried, else whoever has room. */
  #any(tried: ReadonlySet<Endpoint>, now: number): Endpoint | undefined {
    const none: ReadonlySet<Endpoint> = new Set()
    for (const allowed of [
      (endpoint: Endpoint) => this.#mayBeAsked(endpoint, tried, now),
      (endpoint: Endpoint) => this.#mayBeAsked(endpoint, none, now),
      (endpoint: Endpoint) => this.#hasRoom(endpoint) && endpoint.leftUntil <= now && !tried.has(endpoint),
      (endpoint: Endpoint) => this.#hasRoom(endpoint),
    ]) {
      const some = this.#endpoints.filter(allowed)
      if (some.length > 0) return some[Math.floor(Math.random() * some.length)]
    }
    return undefined
  }

  #mayBeAsked(endpoint: Endpoint, tried: ReadonlySet<Endpoint>, now: number): boolean {
    return this.#isIn(endpoint, now) && this.#hasRoom(endpoint) && !tried.has(endpoint)
  }

  #isIn(endpoint: Endpoint, now: number): boolean {
    return endpoint.restsUntil <= now && endpoint.leftUntil <= now && (this.#panic || !isOut(endpoint, now))
  }

  #hasRoom(endpoint: Endpoint): boolean {
    return endpoint.inFlight < this.#options.maxConcurrent
  }

  #changed(): void {
    this.#countedUntil = 0
  }

  #count(now: number): void {
    let out = 0
    let until = Number.POSITIVE_INFINITY
    for (const endpoint of this.#endpoints) {
      const { ejectedUntil, restsUntil, leftUntil } = endpoint
      if (isOut(endpoint, now)) out++
      for (const time of [ejectedUntil, restsUntil, leftUntil]) if (time > now && time < until) until = time
    }
    this.#countedUntil = until
    for (const endpoint of this.#out) {
      if (isOut(endpoint, now)) continue
      this.#out.delete(endpoint)
      if (this.#endpoints.includes(endpoint)) this.#options.onBack(endpoint.instance)
    }
    const panic = this.#endpoints.length - out < this.#endpoints.length * this.#options.ejection.panicShare
    const changed = panic !== this.#panic
    this.#panic = panic
    if (changed || this.#options.zone !== undefined) this.#weigh(now)
  }

  /** Weights are shares. The own zone gets what its usable instances can take if callers are spread evenly over the zones; the rest spills over. */
  #weigh(now: number): void {
    const weights = this.#endpoints.map(({ ownWeight }) => ownWeight)
    const mean = weights.reduce((sum, weight) => sum + weight, 0) / Math.max(1, weights.length)
    this.#endpoints.forEach((endpoint, index) => (endpoint.weight = weights[index]! / mean))
    const { zone } = this.#options
    const usable = this.#endpoints.map((endpoint) => this.#isIn(endpoint, now))
    if (zone !== undefined && usable.includes(true)) {
      const near = this.#endpoints.map((endpoint) => zoneOf(endpoint) === zone)
      const zones = new Set(this.#endpoints.map(zoneOf)).size
      const sum = (of: boolean): number =>
        weights.reduce((all, weight, index) => all + (usable[index] && near[index] === of ? weight : 0), 0)
      const [nearSum, farSum] = [sum(true), sum(false)]
      const nearPart = Math.min(1, (nearSum / (nearSum + farSum)) * zones)
      weights.forEach((weight, index) => {
        const part = near[index] ? nearPart / nearSum : (1 - nearPart) / farSum
        weights[index] = usable[index] ? weight * part : 0
      })
    }
    this.#alike = weights.every((weight) => weight === weights[0]) ? weights.length : undefined
    this.#table = new AliasTable(weights.length === 0 ? [1] : weights)
  }
}

function failsProbes({ failedProbes }: Endpoint): boolean {
  return failedProbes >= FAILED_PROBES
}

function isOut(endpoint: Endpoint, now: number): boolean {
  return endpoint.ejectedUntil > now || failsProbes(endpoint)
}

function zoneOf({ instance }: Endpoint): string | undefined {
  return instance.meta?.['zone']
}

function median(values: number[]): number | undefined {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
}
