import { isSlowFor, type Verdict } from '@platform/resilience'
import { Pool } from 'undici'
import { DiscoveryError } from './errors.ts'
import { baseUrl, type Instance, weightOf } from './registry.ts'
import type { LeavingCause } from './response-signals.ts'

/** Time constant with which latencies are forgotten, and the least that each answer counts. */
const DECAY_MS = 10_000
const LEAST_PART = 0.1
/** A failure counts as so much latency: an instance that fails fast must not look like a fast one. */
const PENALTY_MS = 5000
const PENALTY_DECAY_MS = 2000
/** Above this an instance has failed within the last seconds. */
const FRESH_PENALTY_MS = 500
const CONNECT_MS = 3000
/** Longest silence inside a body. */
const BODY_SILENCE_MS = 30_000
/** A newcomer's share grows from this part of its weight to all of it. */
const COLD = 0.1
const WARM_UP_MS = 10_000

/** What a client knows about one instance. It outlives the instance's absence from the set. */
export class Endpoint {
  instance: Instance
  readonly origin: string
  /** Of the set's mean. */
  weight = 1
  /** Requests whose answer has not been read to its end. */
  inFlight = 0
  picks = 0
  failuresInRow = 0
  /** On the monotonic clock; 0 when it was never ejected. */
  ejectedUntil = 0
  ejections = 0
  ejectedFor: 'failures in a row' | 'its success rate' = 'failures in a row'
  /** Probes that failed since the last good one. */
  failedProbes = 0
  /** It asked to be left alone until then. */
  restsUntil = 0
  /** By what it said itself it gets nothing until then. */
  leftUntil = 0
  leftFor: LeavingCause = 'draining'
  /** As it says itself: 0 idle, 1 busy. */
  load = 0
  /** Answered well and badly since the last comparison of success rates. */
  good = 0
  bad = 0
  #ewmaMs: number
  #observedAt: number = performance.now()
  #answered = false
  #failedAt = Number.NEGATIVE_INFINITY
  #warmAt: number
  #pool: Pool | undefined
  /** Pools that take no more requests and still have some under way. */
  readonly #ending = new Set<Pool>()
  #closed = false

  /** `cold`: it joins others that are warm. */
  constructor(instance: Instance, initialMs: number, cold: boolean) {
    this.instance = instance
    this.origin = baseUrl(instance)
    this.#ewmaMs = initialMs
    this.#warmAt = cold ? this.#observedAt + WARM_UP_MS : 0
  }

  get pool(): Pool {
    if (this.#closed) throw new DiscoveryError('ERR_DISCOVERY_CLOSED', 'the client is closed', { service: this.instance.service })
    this.#pool ??= new Pool(this.origin, { connectTimeout: CONNECT_MS, bodyTimeout: BODY_SILENCE_MS, headersTimeout: 0 })
    return this.#pool
  }

  /** A request goes to it. The returned function tells, once or more often, that it has come to its end. */
  begin(): () => void {
    let running = true
    this.inFlight++
    return () => {
      if (running) this.inFlight--
      running = false
    }
  }

  get ownWeight(): number {
    return weightOf(this.instance)
  }

  /** Rises at once with a slow answer, falls slowly. Fades without traffic, so that a recovered instance is asked again. */
  ewmaMs(now: number): number {
    return !this.#answered ? this.#ewmaMs : this.#ewmaMs * Math.exp(-(now - this.#observedAt) / DECAY_MS)
  }

  cost(now: number): number {
    return (this.ewmaMs(now) + this.#penaltyMs(now)) * (this.inFlight / this.weight + 1) * (1 + this.load)
  }

  failedFreshly(now: number): boolean {
    return this.#penaltyMs(now) > FRESH_PENALTY_MS
  }

  /** The part of its share that it gets while it warms up. */
  warmth(now: number): number {
    return now >= this.#warmAt ? 1 : COLD + (1 - COLD) * (1 - (this.#warmAt - now) / WARM_UP_MS)
  }

  /** Whether the attempt was a failure of this instance; undefined: it says nothing about that. */
  record(verdict: Verdict, tookMs: number, usualMs: number | undefined): boolean | undefined {
    if (verdict === 'answered') {
      this.failuresInRow = this.ejections = 0
      this.good++
      // The first answer pays for connecting and for cold caches.
      if (this.#answered) this.#observe(tookMs)
      this.#answered = true
      return false
    }
    if (verdict === 'refused' || verdict === 'stalled') return undefined
    // Given up after so long: it would have taken at least that.
    if (tookMs > this.ewmaMs(performance.now())) this.#observe(tookMs)
    if (verdict === 'not-wanted' || (verdict === 'too-slow' && !isSlowFor(tookMs, usualMs))) return undefined
    this.failuresInRow++
    this.bad++
    this.#failedAt = performance.now()
    return true
  }

  /** Back in the set: what is known of it holds, connections are made anew. */
  revive(instance: Instance): this {
    this.instance = instance
    return this
  }

  /**
   * Lets running requests end for at most this long, then cuts them; a later, shorter call shortens the time. A later request makes new
   * connections unless `forGood`.
   */
  async close(timeoutMs: number, forGood: boolean): Promise<void> {
    if (this.#pool !== undefined) this.#ending.add(this.#pool)
    this.#pool = undefined
    this.#closed = forGood
    await Promise.all([...this.#ending].map((pool) => this.#end(pool, timeoutMs)))
  }

  async #end(pool: Pool, timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => void pool.destroy(), timeoutMs)
    await pool.close().catch(() => {})
    clearTimeout(timer)
    await pool.destroy()
    this.#ending.delete(pool)
  }

  #penaltyMs(now: number): number {
    return PENALTY_MS * Math.exp(-(now - this.#failedAt) / PENALTY_DECAY_MS)
  }

  #observe(latencyMs: number): void {
    const now = performance.now()
    const part = Math.max(LEAST_PART, 1 - Math.exp(-(now - this.#observedAt) / DECAY_MS))
    this.#ewmaMs = Math.max(latencyMs, this.#ewmaMs * (1 - part) + latencyMs * part)
    this.#observedAt = now
  }
}
