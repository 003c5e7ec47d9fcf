import { knownOptions, numberOption } from '@platform/kernel'
import { refuseOption } from './errors.ts'

/** Shared by all policies that call one destination, so that their retries together cannot multiply its load. */
export interface RetryBudget {
  readonly tokens: number
}

export interface RetryBudgetOptions {
  /** Tokens at most. Default 500. */
  capacity?: number | undefined
  /** Tokens at the start, up to `capacity`. Default: `capacity`. */
  initialTokens?: number | undefined
  /** Tokens one retry takes, above 0. A retry that succeeds, or that was not sent, gives them back. Default 14. */
  retryCost?: number | undefined
  /** Tokens a call that succeeds at its first attempt puts in. Default 1. */
  refillPerSuccess?: number | undefined
  /** Retries that are paid for by time alone, so that a caller of little traffic is not left without. Default 0.5. */
  minRetriesPerSecond?: number | undefined
}

const known = ['capacity', 'initialTokens', 'retryCost', 'refillPerSuccess', 'minRetriesPerSecond']

export class TokenBudget implements RetryBudget {
  readonly capacity: number
  readonly retryCost: number
  readonly refillPerSuccess: number
  readonly minRetriesPerSecond: number
  #tokens: number
  #filledAt: number = performance.now()

  constructor(options: RetryBudgetOptions) {
    knownOptions(refuseOption, 'retryBudget', options, known)
    this.capacity = numberOption(refuseOption, 'capacity', options.capacity ?? 500, 0)
    this.retryCost = numberOption(refuseOption, 'retryCost', options.retryCost ?? 14, Number.MIN_VALUE)
    this.refillPerSuccess = numberOption(refuseOption, 'refillPerSuccess', options.refillPerSuccess ?? 1, 0)
    this.minRetriesPerSecond = numberOption(refuseOption, 'minRetriesPerSecond', options.minRetriesPerSecond ?? 0.5, 0)
    this.#tokens = Math.min(this.capacity, numberOption(refuseOption, 'initialTokens', options.initialTokens ?? this.capacity, 0))
  }

  get tokens(): number {
    this.#fill()
    return this.#tokens
  }

  take(): boolean {
    this.#fill()
    if (this.#tokens < this.retryCost) return false
    this.#tokens -= this.retryCost
    return true
  }

  /** For an attempt that was paid for and not sent. */
  giveBack(): void {
    this.#add(this.retryCost)
  }

  succeeded(afterRetry: boolean): void {
    this.#add(afterRetry ? this.retryCost : this.refillPerSuccess)
  }

  #add(tokens: number): void {
    this.#tokens = Math.min(this.capacity, this.#tokens + tokens)
  }

  #fill(): void {
    const now = performance.now()
    // Whole milliseconds only: less would be lost by rounding.
    const passedMs = now - this.#filledAt
    if (passedMs < 1) return
    this.#filledAt = now
    this.#add((passedMs / 1000) * this.minRetriesPerSecond * this.retryCost)
  }
}

/**
 * What a policy has that is given none: it begins with five retries and has one every two seconds, so that a service which nothing answers from
 * its start adds at most ten retries in ten seconds to its layer; the rest successes must earn.
 */
export function ownBudget(): TokenBudget {
  return new TokenBudget({ initialTokens: 70 })
}

/**
 * Short blips are healed by the store of tokens that successes have paid in; in an outage the store empties and retries stop, so that the load
 * at a failing destination falls back to one attempt per call and the few retries that time pays for.
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  return new TokenBudget(options)
}
