import { Pool } from 'undici'
import { DiscoveryError } from './errors.ts'
import { baseUrl, type Instance } from './registry.ts'

/** Time constant with which latencies are forgotten. */
const DECAY_MS = 10_000
/** A failure counts as so much latency: an instance that fails fast must not look like a fast one. */
const PENALTY_MS = 5000
const PENALTY_DECAY_MS = 2000
const CONNECT_MS = 3000
/** Longest silence inside a body. */
const BODY_SILENCE_MS = 30_000

/** What a client knows about one instance. */
export class Endpoint {
  instance: Instance
  readonly origin: string
  inFlight = 0
  picks = 0
  failuresInRow = 0
  /** On the monotonic clock; 0 when it was never ejected. */
  ejectedUntil = 0
  ejections = 0
  #ewmaMs: number
  #observedAt: number = performance.now()
  #failedAt = Number.NEGATIVE_INFINITY
  #pool: Pool | undefined
  #closed: Promise<void> | undefined

  constructor(instance: Instance, initialMs: number) {
    this.instance = instance
    this.origin = baseUrl(instance)
    this.#ewmaMs = initialMs
  }

  get pool(): Pool {
    if (this.#closed !== undefined)
      throw new DiscoveryError('ERR_DISCOVERY_CLOSED', 'the client is closed', { service: this.instance.service })
    this.#pool ??= new Pool(this.origin, { connectTimeout: CONNECT_MS, bodyTimeout: BODY_SILENCE_MS, headersTimeout: 0 })
    return this.#pool
  }

  /** Rises at once with a slow answer, falls slowly. Fades without traffic, so that a recovered instance is asked again. */
  ewmaMs(now: number): number {
    return this.#ewmaMs * Math.exp(-(now - this.#observedAt) / DECAY_MS)
  }

  penaltyMs(now: number): number {
    return PENALTY_MS * Math.exp(-(now - this.#failedAt) / PENALTY_DECAY_MS)
  }

  cost(now: number): number {
    return ((this.ewmaMs(now) + this.penaltyMs(now)) * (this.inFlight + 1)) / (this.instance.weight ?? 1)
  }

  succeeded(latencyMs: number): void {
    this.failuresInRow = 0
    this.ejections = 0
    this.#observe(latencyMs)
  }

  failed(latencyMs: number): void {
    this.failuresInRow++
    this.#failedAt = performance.now()
    this.#observe(latencyMs)
  }

  /** Lets running requests end for at most this long, then cuts them. */
  async close(timeoutMs: number): Promise<void> {
    const pool = this.#pool
    this.#closed ??= pool === undefined ? Promise.resolve() : pool.close().catch(() => {})
    const timer = setTimeout(() => void pool?.destroy(), timeoutMs)
    await this.#closed
    clearTimeout(timer)
    await pool?.destroy()
  }

  #observe(latencyMs: number): void {
    const now = performance.now()
    const keep = Math.exp(-(now - this.#observedAt) / DECAY_MS)
    this.#ewmaMs = latencyMs > this.#ewmaMs * keep ? latencyMs : this.#ewmaMs * keep + latencyMs * (1 - keep)
    this.#observedAt = now
  }
}
