import { backoffMs, integerOption } from '@platform/kernel'
import { describeError, nameOf } from './error-text.ts'
import { refuse } from './validation.ts'

export interface RetryOptions {
  /** Tries including the first; 1 means no retry. Default 5, 1 to 100. */
  maxAttempts: number
  /** Upper bound of the first pause, in milliseconds. Default 200, 1 to 3,600,000. */
  initialDelayMs?: number | undefined
  /** Upper bound of every pause, in milliseconds. Default 30,000, `initialDelayMs` to 3,600,000. */
  maxDelayMs?: number | undefined
}

export interface RetryPolicy {
  readonly maxAttempts: number
  readonly initialDelayMs: number
  readonly maxDelayMs: number
}

export function resolveRetry(options: RetryOptions | undefined): RetryPolicy {
  const initialDelayMs = integerOption(refuse, 'retry.initialDelayMs', options?.initialDelayMs ?? 200, 1, 3_600_000)
  return {
    maxAttempts: integerOption(refuse, 'retry.maxAttempts', options?.maxAttempts ?? 5, 1, 100),
    initialDelayMs,
    maxDelayMs: integerOption(
      refuse,
      'retry.maxDelayMs',
      options?.maxDelayMs ?? Math.max(initialDelayMs, 30_000),
      initialDelayMs,
      3_600_000,
    ),
  }
}

/** Thrown by a handler that knows better than to try again: the message becomes a dead letter at once. */
export class PermanentFailure extends Error {
  readonly [Symbol.toStringTag]: string = 'PermanentFailure'
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'PermanentFailure'
  }
}

export type Verdict = { readonly retryAfterMs: number } | { readonly deadReason: string }

/** What becomes of a try that failed. `begun` counts the tries that certainly began, this one included. */
export function judgeFailure(error: unknown, begun: number, policy: RetryPolicy): Verdict {
  if (nameOf(error) === 'PermanentFailure') return { deadReason: describeError(error) }
  if (begun >= policy.maxAttempts) return { deadReason: `failed ${begun} times, last: ${describeError(error)}` }
  return { retryAfterMs: Math.max(1, Math.round(backoffMs(begun, policy.initialDelayMs, policy.maxDelayMs))) }
}

/** Judged before the handler starts: a message that kills its process at every try must not be tried for ever. */
export function exhaustedBefore(begun: number, policy: RetryPolicy): string | undefined {
  return begun >= policy.maxAttempts ? `given up after ${begun} attempts that never finished` : undefined
}
