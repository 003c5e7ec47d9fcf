import type { Outage } from './modelled-downstream.ts'

const SLICE_MS = 100
const RECOVERED = 0.99
const RECOVERY_WINDOW_MS = 1000

/** Counted by the time at which a call was offered; arrivals at the downstream by their own. */
export interface SimulatedSpan {
  readonly offered: number
  readonly succeeded: number
  /** Refused by a policy without being sent. */
  readonly rejected: number
  readonly failed: number
  readonly atDownstream: number
  /** Calls that reached the downstream per call offered. */
  readonly loadFactor: number
  /** Of the calls offered; 1 when there were none. */
  readonly successRate: number
  /** Mean time of the calls that succeeded; 0 when none did. */
  readonly meanMs: number
}

interface Slice {
  succeeded: number
  tookMs: number
  rejected: number
  failed: number
  atDownstream: number
}

export class SimulationReport {
  readonly seed: number
  readonly durationMs: number
  /** Calls that had not ended two minutes after the last arrival. */
  unfinished = 0
  readonly #slices: Slice[]
  readonly #outages: readonly Outage[]

  constructor(seed: number, durationMs: number, outages: readonly Outage[]) {
    this.seed = seed
    this.durationMs = durationMs
    this.#outages = outages
    this.#slices = Array.from({ length: Math.ceil(durationMs / SLICE_MS) }, () => ({
      succeeded: 0,
      tookMs: 0,
      rejected: 0,
      failed: 0,
      atDownstream: 0,
    }))
  }

  /** In whole tenths of a second; by default the whole run. */
  between(fromMs = 0, toMs: number = this.durationMs): SimulatedSpan {
    const sum = { succeeded: 0, rejected: 0, failed: 0, atDownstream: 0 }
    let tookMs = 0
    for (const slice of this.#slices.slice(Math.floor(fromMs / SLICE_MS), Math.ceil(toMs / SLICE_MS))) {
      tookMs += slice.tookMs
      sum.succeeded += slice.succeeded
      sum.rejected += slice.rejected
      sum.failed += slice.failed
      sum.atDownstream += slice.atDownstream
    }
    const offered = sum.succeeded + sum.rejected + sum.failed
    return {
      offered,
      ...sum,
      loadFactor: offered === 0 ? 0 : sum.atDownstream / offered,
      successRate: offered === 0 ? 1 : sum.succeeded / offered,
      meanMs: sum.succeeded === 0 ? 0 : tookMs / sum.succeeded,
    }
  }

  get loadFactor(): number {
    return this.between().loadFactor
  }

  get successRate(): number {
    return this.between().successRate
  }

  /** From the end of the last outage to the first whole second in which 99 % succeed; undefined when that does not come. */
  get recoveryMs(): number | undefined {
    const endMs = Math.max(0, ...this.#outages.map(({ toMs }) => toMs))
    for (let fromMs = endMs; fromMs + RECOVERY_WINDOW_MS <= this.durationMs; fromMs += SLICE_MS) {
      const { offered, successRate } = this.between(fromMs, fromMs + RECOVERY_WINDOW_MS)
      if (offered > 0 && successRate >= RECOVERED) return fromMs - endMs
    }
    return undefined
  }

  arrived(atMs: number): void {
    const slice = this.#at(atMs)
    if (slice !== undefined) slice.atDownstream++
  }

  ended(offeredAtMs: number, outcome: 'succeeded' | 'rejected' | 'failed', atMs: number): void {
    const slice = this.#at(offeredAtMs)
    if (slice === undefined) return
    slice[outcome]++
    if (outcome === 'succeeded') slice.tookMs += atMs - offeredAtMs
  }

  #at(ms: number): Slice | undefined {
    return this.#slices[Math.floor(ms / SLICE_MS)]
  }
}
