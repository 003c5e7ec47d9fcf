import { numberOption, onlyKnown } from './option-checks.ts'

/** Shared by all policies that call one destination, so that their retries together cannot multiply its load. */
export interface RetryBudget {
  readonly tokens: number
}

export interface RetryBudgetOptions {
  /** Tokens at the start and at most. Default 500. */
  capacity?: number | undefined
  /** Tokens one retry takes, above 0. A retry that succeeds gives them back. Default 14. */
  retryCost?: number | undefined
  /** Tokens a call that succeeds at its first attempt puts in. Default 1. */
  refillPerSuccess?: number | undefined
}

export class TokenBudget implements RetryBudget {
  readonly capacity: number
  readonly retryCost: number
  readonly refillPerSuccess: number
  #tokens: number

  constructor(options: RetryBudgetOptions) {
    onlyKnown('retryBudget', options, ['capacity', 'retryCost', 'refillPerSuccess'])
    this.capacity = numberOption('capacity', options.capacity ?? 500, { min: 0 })
    this.retryCost = numberOption('retryCost', options.retryCost ?? 14, { min: Number.MIN_VALUE })
    this.refillPerSuccess = numberOption('refillPerSuccess', options.refillPerSuccess ?? 1, { min: 0 })
    this.#tokens = this.capacity
  }

  get tokens(): number {
    return this.#tokens
  }

  take(): boolean {
    if (this.#tokens < this.retryCost) return false
    this.#tokens -= this.retryCost
    return true
  }

  /** For an attempt that was paid for and not sent. */
  giveBack(): void {
    this.succeeded(true)
  }

  succeeded(afterRetry: boolean): void {
    this.#tokens = Math.min(this.capacity, this.#tokens + (afterRetry ? this.retryCost : this.refillPerSuccess))
  }
}

/**
 * Short blips are healed by the store of tokens; in an outage the store empties and retries stop, so that the load at a
 * failing destination falls back to one attempt per call.
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  return new TokenBudget(options)
}
