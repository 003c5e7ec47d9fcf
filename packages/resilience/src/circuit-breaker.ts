import { EventEmitter } from 'node:events'
import Opossum from 'opossum'
import { localRejection, type ResilienceError } from './errors.ts'
import type { ResolvedBreaker } from './options.ts'

const BUCKETS = 10

/** What an admitted call brings back with its result. */
export interface Permit {
  /** The state's number at admission: a result from an earlier state changes nothing. */
  readonly generation: number
  readonly lease: Lease | undefined
}

interface Lease {
  timer: NodeJS.Timeout
}

/** `neutral` says nothing about the dependency: a local rejection or the caller's own abort. */
export type Verdict = 'success' | 'failure' | 'neutral'
export type Transition = 'open' | 'half-open' | 'closed'

/**
 * opossum keeps the state, the rolling window and the timer of a break. Who gets in and what is recorded is decided here:
 * opossum's own `fire` counts started calls, lets late results close a circuit and has no deadline for its probe.
 */
export class CircuitBreaker {
  settings: ResolvedBreaker
  readonly #policy: string
  readonly #onTransition: (to: Transition) => void
  readonly #opossumOptions: Opossum.Options
  readonly #opossum: Opossum
  readonly #rotation = new EventEmitter()
  readonly #leases = new Set<Lease>()
  #probesPassed = 0
  #bucketStartedAt: number = performance.now()
  #halfOpenAt = 0
  #permit: Permit = { generation: 0, lease: undefined }

  constructor(policy: string, settings: ResolvedBreaker, onTransition: (to: Transition) => void) {
    this.#policy = policy
    this.settings = settings
    this.#onTransition = onTransition
    this.#opossumOptions = {
      name: policy,
      timeout: false,
      resetTimeout: settings.breakDurationMs,
      rollingCountBuckets: BUCKETS,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: this.#rotation,
    }
    this.#opossum = new Opossum(async () => {}, this.#opossumOptions)
    this.#opossum.on('halfOpen', () => this.#entered('half-open'))
  }

  get state(): Transition {
    return this.#opossum.closed ? 'closed' : this.#opossum.opened ? 'open' : 'half-open'
  }

  /** Throws ERR_RESILIENCE_CIRCUIT_OPEN when the call may not go. Nobody is parked. */
  admit(): Permit {
    if (this.#opossum.closed) return this.#permit
    if (this.#opossum.opened) throw this.#rejection(this.#halfOpenAt - performance.now())
    if (this.#leases.size + this.#probesPassed >= this.settings.probes) throw this.#rejection(this.settings.probeTimeoutMs)
    const { generation } = this.#permit
    const lease: Lease = { timer: setTimeout(() => this.record({ generation, lease }, 'failure'), this.settings.probeTimeoutMs).unref() }
    this.#leases.add(lease)
    return { generation, lease }
  }

  record(permit: Permit, verdict: Verdict): void {
    if (permit.generation !== this.#permit.generation) return
    if (permit.lease !== undefined) this.#recordProbe(permit.lease, verdict)
    else if (verdict !== 'neutral') this.#recordCall(verdict)
  }

  /** Leaves no timer. Whoever still holds it finds it closed. */
  dispose(): void {
    this.#dropLeases()
    this.#opossum.close()
  }

  #recordProbe(lease: Lease, verdict: Verdict): void {
    clearTimeout(lease.timer)
    this.#leases.delete(lease)
    if (verdict === 'failure') this.#open()
    else if (verdict === 'success' && ++this.#probesPassed >= this.settings.probes) this.#close()
  }

  #recordCall(verdict: 'success' | 'failure'): void {
    this.#rotate()
    const { status } = this.#opossum as unknown as RollingStatus
    status.increment(verdict === 'failure' ? 'failures' : 'successes')
    const buckets = status.window
    // opossum stores a latency per call even with percentiles off.
    buckets[0]!.latencyTimes.length = 0
    if (verdict === 'success') return
    let failures = 0
    let finished = 0
    for (const bucket of buckets) {
      failures += bucket.failures
      finished += bucket.failures + bucket.successes
    }
    if (finished >= this.settings.minimumThroughput && failures / finished >= this.settings.failureRatio) this.#open()
  }

  /** Lazily, so that an idle breaker has no timer; after a long pause every bucket is cleared. */
  #rotate(): void {
    const bucketMs = this.settings.samplingDurationMs / BUCKETS
    const passed = Math.floor((performance.now() - this.#bucketStartedAt) / bucketMs)
    if (passed <= 0) return
    this.#bucketStartedAt += passed * bucketMs
    for (let rotated = 0; rotated < Math.min(passed, BUCKETS); rotated++) this.#rotation.emit('rotate')
  }

  #open(): void {
    this.#opossumOptions.resetTimeout = this.settings.breakDurationMs
    this.#halfOpenAt = performance.now() + this.settings.breakDurationMs
    this.#opossum.open()
    this.#entered('open')
  }

  #close(): void {
    for (let rotated = 0; rotated < BUCKETS; rotated++) this.#rotation.emit('rotate')
    this.#bucketStartedAt = performance.now()
    this.#opossum.close()
    this.#entered('closed')
  }

  #entered(state: Transition): void {
    this.#permit = { generation: this.#permit.generation + 1, lease: undefined }
    this.#dropLeases()
    this.#probesPassed = 0
    this.#onTransition(state)
  }

  #dropLeases(): void {
    for (const lease of this.#leases) clearTimeout(lease.timer)
    this.#leases.clear()
  }

  #rejection(retryAfterMs: number): ResilienceError {
    const facts = { policy: this.#policy, retryAfterMs: Math.max(0, retryAfterMs) }
    return localRejection('ERR_RESILIENCE_CIRCUIT_OPEN', `${this.#policy}: the circuit is ${this.state}`, facts)
  }
}

/** The part of opossum's Status that its type package leaves out. */
interface RollingStatus {
  readonly status: {
    increment(property: 'failures' | 'successes'): void
    readonly window: { failures: number; successes: number; latencyTimes: number[] }[]
  }
}
