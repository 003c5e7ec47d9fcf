import { durationOption, integerOption, knownOptions, numberOption } from '@platform/kernel'
import type { Endpoint } from './endpoint.ts'
import { refuseOption as refuse } from './errors.ts'

export interface EjectionOptions {
  /** Failures in a row that leave an instance out; after its return one more is enough. Default 5. */
  failuresInRow?: number | undefined
  /** First time out; each repeat is longer by as much. Default 30,000. */
  baseMs?: number | undefined
  /** Longest time out. Default 300,000. */
  maxMs?: number | undefined
  /** Part of the instances that may be out at once; one always may. Default 0.1. */
  maxShare?: number | undefined
  /** Below this part of usable instances all are used: then the fault is more likely ours. Default 0.5. */
  panicShare?: number | undefined
  /** Requests that an instance must have had in ten seconds for its success rate to be compared with the others'. Default 100. */
  successRateThroughput?: number | undefined
  /** An instance whose success rate lies so many standard deviations below the mean of at least five is left out. 0: none. Default 1.9. */
  successRateDeviations?: number | undefined
}

export type ResolvedEjection = { [name in keyof EjectionOptions]-?: number }

const COMPARED_EVERY_MS = 10_000
const FEWEST_COMPARED = 5

export function resolveEjection(options: EjectionOptions = {}): ResolvedEjection {
  const defaults: ResolvedEjection = {
    failuresInRow: 5,
    baseMs: 30_000,
    maxMs: 300_000,
    maxShare: 0.1,
    panicShare: 0.5,
    successRateThroughput: 100,
    successRateDeviations: 1.9,
  }
  knownOptions(refuse, 'ejection', options, Object.keys(defaults))
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const all: ResolvedEjection = { ...defaults, ...given }
  integerOption(refuse, 'ejection.failuresInRow', all.failuresInRow, 1)
  durationOption(refuse, 'ejection.baseMs', all.baseMs, 1)
  durationOption(refuse, 'ejection.maxMs', all.maxMs, all.baseMs)
  for (const share of ['maxShare', 'panicShare'] as const) numberOption(refuse, `ejection.${share}`, all[share], 0, 1)
  integerOption(refuse, 'ejection.successRateThroughput', all.successRateThroughput, 1)
  numberOption(refuse, 'ejection.successRateDeviations', all.successRateDeviations, 0)
  return all
}

/** Decides who is left out, never more than a part of them. */
export class Ejection {
  readonly #options: ResolvedEjection
  #comparedAt: number = performance.now()

  constructor(options: ResolvedEjection) {
    this.#options = options
  }

  get panicShare(): number {
    return this.#options.panicShare
  }

  /** After a failure. Those that are out from now on. */
  outliers(failed: Endpoint, all: readonly Endpoint[], now: number): Endpoint[] {
    const inRow = failed.failuresInRow >= this.#options.failuresInRow ? [failed] : []
    const farBelow = this.#farBelow(all, now)
    return [
      ...inRow.filter((endpoint) => this.#eject(endpoint, 'failures in a row', all, now)),
      ...farBelow.filter((endpoint) => this.#eject(endpoint, 'its success rate', all, now)),
    ]
  }

  #eject(endpoint: Endpoint, cause: Endpoint['ejectedFor'], all: readonly Endpoint[], now: number): boolean {
    const { maxShare, baseMs, maxMs } = this.#options
    if (endpoint.ejectedUntil > now) return false
    const ejected = all.filter((other) => other.ejectedUntil > now).length
    if (ejected >= Math.max(1, Math.floor(all.length * maxShare))) return false
    endpoint.ejections++
    endpoint.ejectedFor = cause
    endpoint.ejectedUntil = now + Math.min(maxMs, baseMs * endpoint.ejections)
    return true
  }

  /** As Envoy's outlier detection compares success rates. */
  #farBelow(all: readonly Endpoint[], now: number): Endpoint[] {
    if (now - this.#comparedAt < COMPARED_EVERY_MS) return []
    this.#comparedAt = now
    const { successRateThroughput, successRateDeviations } = this.#options
    const rates = all
      .filter(({ good, bad }) => good + bad >= successRateThroughput)
      .map((endpoint) => ({ endpoint, rate: endpoint.good / (endpoint.good + endpoint.bad) }))
    for (const endpoint of all) endpoint.good = endpoint.bad = 0
    if (successRateDeviations === 0 || rates.length < FEWEST_COMPARED) return []
    const mean = rates.reduce((sum, { rate }) => sum + rate, 0) / rates.length
    const deviation = Math.sqrt(rates.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / rates.length)
    return rates.filter(({ rate }) => rate < mean - successRateDeviations * deviation).map(({ endpoint }) => endpoint)
  }
}
