import type { Breaker, Permit, Transition } from '../breaker.ts'
import { localRejection, refuseOption, type ResilienceError } from '../errors.ts'
import type { Outcome } from '../policy.ts'
import type { Verdict } from '../verdict.ts'

/** What of an opossum breaker is used: its public members, as of versions 8 to 10. */
export interface OpossumBreaker {
  readonly name: string
  readonly opened: boolean
  readonly closed: boolean
  readonly halfOpen: boolean
  readonly enabled: boolean
  readonly warmUp: boolean
  readonly isShutdown: boolean
  readonly volumeThreshold: number
  readonly status: { readonly window: readonly unknown[] }
  open(): void
  close(): void
  on(event: 'open' | 'close' | 'halfOpen', listener: () => void): unknown
  emit(event: string, ...args: unknown[]): unknown
}

interface Options {
  readonly errorThresholdPercentage: number
  readonly resetTimeout: number
  readonly timeout: number | false
  readonly errorFilter: (error: unknown) => boolean
}

interface Bucket {
  readonly failures: number
  readonly successes: number
}

interface Lease {
  readonly generation: number
  readonly probe: boolean
  readonly expiresAt: number
}

/**
 * An existing opossum breaker as the breaker of a policy. It keeps the state, the window and the timer of a break, and its listeners and exporters
 * hear of every call; its `errorThresholdPercentage`, `volumeThreshold`, `resetTimeout`, `rollingCountTimeout` and `errorFilter` apply, `timeout`
 * is how long a probe may take. `fire` is not used: it counts calls that have only begun, and lets late results and hung probes decide.
 */
export function opossumBreaker(breaker: OpossumBreaker): Breaker {
  if (typeof breaker?.open !== 'function' || typeof breaker.emit !== 'function' || typeof breaker.status !== 'object')
    throw refuseOption('breaker', 'must be an opossum breaker')
  return new OpossumEngine(breaker)
}

class OpossumEngine implements Breaker {
  readonly settings: { readonly shouldHandle: (outcome: Outcome) => boolean }
  readonly #breaker: OpossumBreaker
  readonly #options: Options
  /** Grows with each change of state. */
  #generation = 0
  #openedAt = 0
  #probe: Lease | undefined

  constructor(breaker: OpossumBreaker) {
    this.#breaker = breaker
    const options = (this.#options = (breaker as unknown as { options: Options }).options)
    this.settings = { shouldHandle: (outcome) => !outcome.ok && !options.errorFilter(outcome.error) }
    breaker.on('open', () => {
      this.#openedAt = performance.now()
      this.#entered()
    })
    breaker.on('halfOpen', () => this.#entered())
    breaker.on('close', () => this.#entered())
  }

  get state(): Transition {
    this.#expire()
    return this.#breaker.closed || !this.#breaker.enabled ? 'closed' : this.#breaker.halfOpen ? 'half-open' : 'open'
  }

  get refusal(): ResilienceError | undefined {
    return this.#breaker.enabled && this.#breaker.opened ? this.#rejection() : undefined
  }

  admit(): Permit {
    this.#expire()
    const { enabled, closed, halfOpen } = this.#breaker
    if (enabled && !closed && (!halfOpen || this.#probe !== undefined)) {
      const error = this.#rejection()
      this.#breaker.emit('reject', error)
      throw error
    }
    this.#breaker.emit('fire', [])
    const { timeout, resetTimeout } = this.#options
    const permit: Lease = { generation: this.#generation, probe: halfOpen, expiresAt: performance.now() + (timeout || resetTimeout) }
    if (halfOpen) this.#probe = permit
    return permit
  }

  record(permit: Permit, verdict: Verdict, tookMs: number): void {
    this.#expire()
    const { generation, probe } = permit as Lease
    if (generation !== this.#generation || !this.#breaker.enabled) return
    if (probe) this.#probe = undefined
    if (verdict === 'not-wanted' || verdict === 'stalled' || verdict === 'too-slow') return
    if (verdict === 'answered') {
      // In half-open opossum closes by it.
      this.#breaker.emit('success', undefined, tookMs)
      return
    }
    const error = new Error(verdict)
    if (verdict === 'timed-out') this.#breaker.emit('timeout', error, tookMs, [])
    this.#breaker.emit('failure', error, tookMs, [])
    if (probe || (!this.#breaker.warmUp && this.#tooMany())) this.#breaker.open()
  }

  reset(): void {
    this.#breaker.close()
    this.#entered()
    this.#forget()
  }

  /** It stays its owner's. */
  dispose(): void {}

  #tooMany(): boolean {
    let failures = 0
    let finished = 0
    for (const bucket of this.#breaker.status.window as readonly Bucket[]) {
      failures += bucket.failures
      finished += bucket.failures + bucket.successes
    }
    return finished >= this.#breaker.volumeThreshold && (failures / finished) * 100 > this.#options.errorThresholdPercentage
  }

  /** A probe that hangs must not keep it half-open. */
  #expire(): void {
    if (this.#probe !== undefined && performance.now() >= this.#probe.expiresAt) this.#breaker.open()
  }

  #entered(): void {
    this.#generation++
    this.#probe = undefined
    if (this.#breaker.closed) this.#forget()
  }

  #forget(): void {
    const status = this.#breaker.status as { window: readonly unknown[]; rotateBucket?: () => void }
    for (let turned = status.window.length; turned > 0; turned--) status.rotateBucket?.()
  }

  #rejection(): ResilienceError {
    const { name, opened } = this.#breaker
    const leftMs = opened ? this.#openedAt + this.#options.resetTimeout - performance.now() : this.#options.resetTimeout
    const facts = { policy: name, retryAfterMs: Math.max(0, leftMs) }
    return localRejection('ERR_RESILIENCE_CIRCUIT_OPEN', `${name}: the circuit is ${opened ? 'open' : 'half-open'}`, facts)
  }
}
