import type { Breaker, Permit, Transition } from './breaker.ts'
import { localRejection, type ResilienceError } from './errors.ts'
import type { ResolvedBreaker } from './resolve-options.ts'
import { RollingWindow } from './rolling-window.ts'
import { isSlowFor, type Verdict } from './verdict.ts'

/** Parts of the calls let through during `recoveryMs`, each for a third of it. */
const RAMP = [0.1, 0.25, 0.5]
/** Answers that the usual time is averaged over, and how many it takes to know it. */
const USUAL_OF = 50
const KNOWN_AFTER = 5

interface Closed {
  readonly name: 'closed'
  readonly since: number
}
interface Open {
  readonly name: 'open'
  readonly until: number
}
interface Probing {
  readonly name: 'probing'
  readonly leases: Set<Lease>
  passed: number
}
interface Recovering {
  readonly name: 'recovering'
  readonly since: number
  readonly durationMs: number
  /** Grows by the part of the calls that may pass; a call takes 1. */
  credit: number
}
/** An operator's isolation lies above the breaker, in the policy: it holds also where there is no breaker. */
type State = Closed | Open | Probing | Recovering

/** The right to be one of the probes, until it expires. */
interface Lease {
  readonly state: Probing
  readonly expiresAt: number
}

/**
 * Counts finished attempts in a rolling window and opens when too many fail. An admitted call carries the state that admitted it: a result that
 * comes when that state is over changes nothing. Time moves the state when somebody looks, so there is no timer and no way to be stuck.
 */
export class CircuitBreaker implements Breaker {
  settings: ResolvedBreaker
  readonly #policy: string
  readonly #onTransition: (to: Transition, breakDurationMs: number) => void
  readonly #window = new RollingWindow()
  #state: State = { name: 'closed', since: Number.NEGATIVE_INFINITY }
  #failuresInRow = 0
  /** Breaks in a row without a recovery that lasted. */
  #breaks = 0
  #usualMs = 0
  #answers = 0

  constructor(policy: string, settings: ResolvedBreaker, onTransition: (to: Transition, breakDurationMs: number) => void) {
    this.#policy = policy
    this.settings = settings
    this.#onTransition = onTransition
  }

  get state(): Transition {
    const { name } = this.#now(performance.now())
    return name === 'probing' || name === 'recovering' ? 'half-open' : name
  }

  get refusal(): ResilienceError | undefined {
    if (this.#state.name !== 'open') return undefined
    const now = performance.now()
    const state = this.#now(now)
    return state.name === 'open' ? this.#rejection('open', state.until - now) : undefined
  }

  admit(): Permit {
    if (this.#state.name === 'closed') return this.#state
    const now = performance.now()
    const state = this.#now(now)
    if (state.name === 'closed') return state
    if (state.name === 'open') throw this.#rejection('open', state.until - now)
    if (state.name === 'recovering') return this.#admitRecovering(state, now)
    const { probes, probeTimeoutMs } = this.settings
    if (state.leases.size + state.passed >= probes) throw this.#rejection('half-open', probeTimeoutMs)
    const lease: Lease = { state, expiresAt: now + probeTimeoutMs }
    state.leases.add(lease)
    return lease
  }

  record(permit: Permit, verdict: Verdict, tookMs: number, now: number = performance.now()): void {
    const state = this.#now(now)
    const failed = this.#isFailure(verdict, tookMs)
    if (state.name === 'probing') this.#recordProbe(state, permit as Lease, failed, tookMs, now)
    else if (permit === state && failed !== undefined) this.#recordCall(failed, tookMs, now)
  }

  reset(): void {
    this.#breaks = 0
    if (this.#state.name === 'closed') this.#enter({ name: 'closed', since: Number.NEGATIVE_INFINITY }, performance.now())
    else this.#close(performance.now(), Number.NEGATIVE_INFINITY)
  }

  dispose(): void {}

  /** Undefined: it says nothing. */
  #isFailure(verdict: Verdict, tookMs: number): boolean | undefined {
    if (verdict === 'answered') return false
    if (verdict === 'not-wanted' || verdict === 'stalled') return undefined
    if (verdict !== 'too-slow') return true
    const usualMs = this.#answers < KNOWN_AFTER ? undefined : this.#usualMs
    return tookMs >= this.settings.slowCallDurationMs || isSlowFor(tookMs, usualMs) ? true : undefined
  }

  /** The state as it is by now. */
  #now(now: number): State {
    for (;;) {
      const state = this.#state
      if (state.name === 'open' && now >= state.until) {
        this.#enter({ name: 'probing', leases: new Set(), passed: 0 }, now)
        this.#onTransition('half-open', 0)
      } else if (state.name === 'probing' && state.passed >= this.settings.probes) this.#recover(now)
      else if (state.name === 'recovering' && now >= state.since + state.durationMs) this.#close(now, now)
      else {
        const expiredAt = state.name === 'probing' ? expiryOf(state, now) : undefined
        if (expiredAt === undefined) return state
        this.#open(expiredAt)
      }
    }
  }

  #admitRecovering(state: Recovering, now: number): Permit {
    const { durationMs } = state
    const elapsedMs = now - state.since
    state.credit += RAMP[Math.min(RAMP.length - 1, Math.floor((elapsedMs / durationMs) * RAMP.length))]!
    if (state.credit < 1) throw this.#rejection('half-open', durationMs - elapsedMs)
    state.credit--
    return state
  }

  #recordProbe(state: Probing, lease: Lease, failed: boolean | undefined, tookMs: number, now: number): void {
    if (!state.leases.delete(lease) || failed === undefined) return
    if (failed || tookMs >= this.settings.slowCallDurationMs) this.#open(now)
    else {
      state.passed++
      this.#now(now)
    }
  }

  #recordCall(failed: boolean, tookMs: number, now: number): void {
    const { settings } = this
    const slow = tookMs >= settings.slowCallDurationMs
    if (this.#window.rotate(now, settings.samplingDurationMs)) this.#failuresInRow = 0
    this.#window.add(failed, slow)
    this.#failuresInRow = failed ? this.#failuresInRow + 1 : 0
    if (!failed) this.#usualMs += (tookMs - this.#usualMs) / Math.min(++this.#answers, USUAL_OF)
    if ((failed || slow) && this.#tooMany()) this.#open(now)
  }

  #tooMany(): boolean {
    const { settings } = this
    const { finished, failed, slow } = this.#window
    if (this.#failuresInRow >= settings.consecutiveFailures) return true
    // A recovery lets few calls through: as many as there were probes are evidence enough.
    const enough = this.#state.name === 'recovering' ? Math.min(settings.minimumThroughput, settings.probes) : settings.minimumThroughput
    if (finished < enough) return false
    return failed / finished >= settings.failureRatio || (slow > 0 && slow / finished >= settings.slowCallRatio)
  }

  #open(now: number): void {
    const { breakDurationMs, maxBreakDurationMs, samplingDurationMs } = this.settings
    if (this.#state.name === 'closed' && now - this.#state.since > samplingDurationMs) this.#breaks = 0
    const longestMs = Math.min(maxBreakDurationMs, breakDurationMs * 2 ** Math.min(++this.#breaks, 52))
    const durationMs = Math.round(breakDurationMs + Math.random() * Math.max(0, longestMs - breakDurationMs))
    this.#enter({ name: 'open', until: now + durationMs }, now)
    this.#onTransition('open', durationMs)
  }

  #recover(now: number): void {
    const { recoveryMs } = this.settings
    if (recoveryMs === 0) this.#close(now, now)
    else this.#enter({ name: 'recovering', since: now, durationMs: recoveryMs, credit: 1 }, now)
  }

  #close(now: number, since: number): void {
    this.#enter({ name: 'closed', since }, now)
    this.#onTransition('closed', 0)
  }

  #enter(state: State, now: number): void {
    this.#state = state
    this.#failuresInRow = 0
    this.#window.clear(now)
  }

  #rejection(state: 'open' | 'half-open', retryAfterMs: number): ResilienceError {
    const facts = { policy: this.#policy, retryAfterMs: Math.max(0, retryAfterMs) }
    return localRejection('ERR_RESILIENCE_CIRCUIT_OPEN', `${this.#policy}: the circuit is ${state}`, facts)
  }
}

/** When the first lease that is over by now ended. */
function expiryOf(state: Probing, now: number): number | undefined {
  let first: number | undefined
  for (const { expiresAt } of state.leases) if (expiresAt <= now && !(expiresAt >= first!)) first = expiresAt
  return first
}
