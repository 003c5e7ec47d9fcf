import { type CheckReport, messages, type Status } from './check.ts'
import type { ResolvedCheck } from './options.ts'

/** What one run of a check said. */
export interface Outcome {
  readonly status: Status
  readonly message: string | undefined
  readonly cause?: unknown
}

/** What an outcome did to the verdict. */
export type Effect =
  | { readonly kind: 'same' }
  | { readonly kind: 'not counted'; readonly streak: number; readonly needed: number }
  | { readonly kind: 'changed'; readonly from: Status | undefined; readonly to: Status }

/** Results older than this many intervals (plus one timeout) are called stale. */
const staleIntervals = 3

/** The damped memory of a check: `fall` bad outcomes in a row make it fail, `rise` good ones bring it back. Knows no timer. */
export class Verdict {
  readonly #check: ResolvedCheck
  readonly #createdAt = performance.now()
  #status: Status | undefined
  #message: string | undefined
  #finishedAt: number | undefined
  #streak = 0
  /** Off while the service starts: then every result counts at once. */
  damping = false

  constructor(check: ResolvedCheck) {
    this.#check = check
  }

  record(outcome: Outcome): Effect {
    this.#finishedAt = performance.now()
    const failing = outcome.status === 'fail'
    const turns = this.#status !== undefined && failing !== (this.#status === 'fail')
    const needed = turns && this.damping ? (failing ? this.#check.fall : this.#check.rise) : 1
    this.#streak = turns ? this.#streak + 1 : 0
    if (turns && this.#streak < needed) {
      this.#message = failing ? messages.falling : messages.rising
      return { kind: 'not counted', streak: this.#streak, needed }
    }
    this.#streak = 0
    const from = this.#status
    this.#status = outcome.status
    this.#message = outcome.message
    return from === outcome.status ? { kind: 'same' } : { kind: 'changed', from, to: outcome.status }
  }

  report(): CheckReport {
    const { kind, intervalMs, timeoutMs } = this.#check
    const ageMs = Math.round(performance.now() - (this.#finishedAt ?? this.#createdAt))
    if (this.#status === undefined) return { status: kind === 'critical' ? 'fail' : 'warn', ageMs, message: messages.unknown }
    if (ageMs > staleIntervals * intervalMs + timeoutMs) {
      return { status: this.#status === 'pass' ? 'warn' : this.#status, ageMs, message: messages.stale }
    }
    return { status: this.#status, ageMs, ...(this.#message === undefined ? {} : { message: this.#message }) }
  }
}
