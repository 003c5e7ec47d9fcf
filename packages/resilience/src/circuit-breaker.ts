import { EventEmitter } from 'node:events'
import Opossum from 'opossum'
import { localRejection, type ResilienceError } from './errors.ts'
import type { ResolvedBreaker } from './resolve-options.ts'

const BUCKETS = 10
/** Parts of the calls let through during `recoveryMs`, each for a third of it. */
const RAMP = [0.1, 0.25, 0.5]

/** What an admitted call brings back with its result. */
export interface Permit {
  /** The state's number at admission: a result from an earlier state changes nothing. */
  readonly generation: number
  readonly lease: Lease | undefined
}

interface Lease {
  timer: NodeJS.Timeout
}

interface Recovery {
  readonly startedAt: number
  readonly durationMs: number
  readonly timer: NodeJS.Timeout
  /** Grows by the part of the calls that may pass; a call takes 1. */
  credit: number
}

/** `neutral` says nothing about the dependency: a local rejection, the caller's own abort, a hedge that was not needed. */
export type Verdict = 'success' | 'failure' | 'neutral'
export type Transition = 'open' | 'half-open' | 'closed'

/**
 * opossum keeps the state, the rolling window and the timer of a break. Who gets in and what is recorded is decided here:
 * opossum's own `fire` counts started calls, lets late results close a circuit and has no deadline for its probe.
 */
export class CircuitBreaker {
  settings: ResolvedBreaker
  readonly #policy: string
  readonly #onTransition: (to: Transition, breakDurationMs: number) => void
  readonly #opossumOptions: Opossum.Options
  readonly #opossum: Opossum
  readonly #rotation = new EventEmitter()
  readonly #leases = new Set<Lease>()
  #buckets: readonly Bucket[]
  #probesPassed = 0
  #failuresInRow = 0
  #bucketStartedAt: number = performance.now()
  #closedAt = Number.NEGATIVE_INFINITY
  #halfOpenAt = 0
  /** Breaks in a row without a recovery that lasted. */
  #breaks = 0
  #recovery: Recovery | undefined
  #permit: Permit = { generation: 0, lease: undefined }

  constructor(policy: string, settings: ResolvedBreaker, onTransition: (to: Transition, breakDurationMs: number) => void) {
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
    this.#opossum = new Opossum(nothing, this.#opossumOptions)
    this.#opossum.on('halfOpen', () => this.#entered('half-open'))
    this.#buckets = windowOf(this.#opossum)
  }

  get state(): Transition {
    return this.#opossum.closed ? 'closed' : this.#opossum.opened ? 'open' : 'half-open'
  }

  /** ERR_RESILIENCE_CIRCUIT_OPEN while it is open. */
  get refusal(): ResilienceError | undefined {
    return this.#opossum.opened ? this.#rejection('open', this.#halfOpenAt - performance.now()) : undefined
  }

  /** Throws ERR_RESILIENCE_CIRCUIT_OPEN when the call may not go. Nobody is parked. */
  admit(): Permit {
    if (this.#opossum.closed) return this.#permit
    const { refusal } = this
    if (refusal !== undefined) throw refusal
    if (this.#recovery !== undefined) return this.#admitRecovering(this.#recovery)
    if (this.#leases.size + this.#probesPassed >= this.settings.probes) throw this.#rejection('half-open', this.settings.probeTimeoutMs)
    const { generation } = this.#permit
    const timer = setTimeout(() => this.record({ generation, lease }, 'failure', 0), this.settings.probeTimeoutMs).unref()
    const lease: Lease = { timer }
    this.#leases.add(lease)
    return { generation, lease }
  }

  record(permit: Permit, verdict: Verdict, startedAt: number): void {
    if (permit.generation !== this.#permit.generation) return
    const now = performance.now()
    const slow = verdict !== 'neutral' && now - startedAt >= this.settings.slowCallDurationMs
    if (permit.lease !== undefined) this.#recordProbe(permit.lease, slow ? 'failure' : verdict)
    else if (verdict !== 'neutral') this.#recordCall(verdict === 'failure', slow, now)
  }

  /** Closed with an empty window, and the next break is a first one. */
  reset(): void {
    this.#breaks = 0
    if (this.#opossum.closed) {
      this.#forget()
      this.#permit = { generation: this.#permit.generation + 1, lease: undefined }
    } else {
      this.#close()
    }
    this.#closedAt = Number.NEGATIVE_INFINITY
  }

  /** Leaves no timer. Whoever still holds it finds it closed. */
  dispose(): void {
    this.#dropTimers()
    this.#opossum.close()
  }

  #admitRecovering(recovery: Recovery): Permit {
    const elapsedMs = performance.now() - recovery.startedAt
    const step = Math.min(RAMP.length - 1, Math.floor((elapsedMs / recovery.durationMs) * RAMP.length))
    recovery.credit += RAMP[step]!
    if (recovery.credit < 1) throw this.#rejection('half-open', recovery.durationMs - elapsedMs)
    recovery.credit--
    return this.#permit
  }

  #recordProbe(lease: Lease, verdict: Verdict): void {
    clearTimeout(lease.timer)
    this.#leases.delete(lease)
    if (verdict === 'failure') this.#open()
    else if (verdict === 'success' && ++this.#probesPassed >= this.settings.probes) this.#recover()
  }

  #recordCall(failed: boolean, slow: boolean, now: number): void {
    this.#rotate(now)
    const bucket = this.#buckets[0]!
    if (slow) bucket.timeouts++
    if (failed) {
      bucket.failures++
      this.#failuresInRow++
    } else {
      bucket.successes++
      this.#failuresInRow = 0
    }
    if ((failed || slow) && this.#tooMany()) this.#open()
  }

  #tooMany(): boolean {
    const { settings } = this
    if (this.#failuresInRow >= settings.consecutiveFailures) return true
    let failures = 0
    let slow = 0
    let finished = 0
    for (const bucket of this.#buckets) {
      failures += bucket.failures
      slow += bucket.timeouts
      finished += bucket.failures + bucket.successes
    }
    // A recovery lets few calls through: as many as there were probes are evidence enough.
    const enough = this.#recovery === undefined ? settings.minimumThroughput : Math.min(settings.minimumThroughput, settings.probes)
    if (finished < enough) return false
    return failures / finished >= settings.failureRatio || (slow > 0 && slow / finished >= settings.slowCallRatio)
  }

  /** Lazily, so that an idle breaker has no timer; after a long pause everything is forgotten. */
  #rotate(now: number): void {
    const bucketMs = this.settings.samplingDurationMs / BUCKETS
    const passed = Math.floor((now - this.#bucketStartedAt) / bucketMs)
    if (passed <= 0) return
    this.#bucketStartedAt += passed * bucketMs
    if (passed >= BUCKETS) this.#failuresInRow = 0
    for (let rotated = 0; rotated < Math.min(passed, BUCKETS); rotated++) this.#rotation.emit('rotate')
    this.#buckets = windowOf(this.#opossum)
  }

  #forget(): void {
    this.#failuresInRow = 0
    for (let rotated = 0; rotated < BUCKETS; rotated++) this.#rotation.emit('rotate')
    this.#bucketStartedAt = performance.now()
    this.#buckets = windowOf(this.#opossum)
  }

  #open(): void {
    const now = performance.now()
    const { breakDurationMs, maxBreakDurationMs, samplingDurationMs } = this.settings
    if (this.#opossum.closed && now - this.#closedAt > samplingDurationMs) this.#breaks = 0
    const longestMs = Math.min(maxBreakDurationMs, breakDurationMs * 2 ** ++this.#breaks)
    const durationMs = Math.round(breakDurationMs + Math.random() * Math.max(0, longestMs - breakDurationMs))
    this.#opossumOptions.resetTimeout = durationMs
    this.#halfOpenAt = now + durationMs
    this.#opossum.open()
    this.#entered('open', durationMs)
  }

  #recover(): void {
    const { recoveryMs } = this.settings
    if (recoveryMs === 0) {
      this.#close()
      return
    }
    this.#forget()
    this.#permit = { generation: this.#permit.generation + 1, lease: undefined }
    this.#dropTimers()
    const timer = setTimeout(() => this.#close(), recoveryMs).unref()
    this.#recovery = { startedAt: performance.now(), durationMs: recoveryMs, timer, credit: 1 }
  }

  #close(): void {
    this.#forget()
    this.#closedAt = performance.now()
    this.#opossum.close()
    this.#entered('closed')
  }

  #entered(state: Transition, breakDurationMs = 0): void {
    this.#permit = { generation: this.#permit.generation + 1, lease: undefined }
    this.#dropTimers()
    this.#probesPassed = 0
    this.#onTransition(state, breakDurationMs)
  }

  #dropTimers(): void {
    for (const lease of this.#leases) clearTimeout(lease.timer)
    this.#leases.clear()
    clearTimeout(this.#recovery?.timer)
    this.#recovery = undefined
  }

  #rejection(state: 'open' | 'half-open', retryAfterMs: number): ResilienceError {
    const facts = { policy: this.#policy, retryAfterMs: Math.max(0, retryAfterMs) }
    return localRejection('ERR_RESILIENCE_CIRCUIT_OPEN', `${this.#policy}: the circuit is ${state}`, facts)
  }
}

/** The parts of a bucket of opossum's window that count here: `timeouts` are the slow calls, whether they failed or not. */
interface Bucket {
  failures: number
  successes: number
  timeouts: number
}

/** A copy of opossum's list of live buckets, newest first; counting in them directly costs no event and stores no latencies. */
function windowOf(opossum: Opossum): readonly Bucket[] {
  return (opossum as unknown as { status: { window: Bucket[] } }).status.window
}

async function nothing(): Promise<void> {}
