import { within } from './validation.ts'

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
  const initialDelayMs = within('retry.initialDelayMs', options?.initialDelayMs ?? 200, 1, 3_600_000)
  return {
    maxAttempts: within('retry.maxAttempts', options?.maxAttempts ?? 5, 1, 100),
    initialDelayMs,
    maxDelayMs: within('retry.maxDelayMs', options?.maxDelayMs ?? Math.max(initialDelayMs, 30_000), initialDelayMs, 3_600_000),
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

/** Full jitter: failures that came together do not come back together. */
export function backoffMs(
  attempt: number,
  policy: Pick<RetryPolicy, 'initialDelayMs' | 'maxDelayMs'>,
  random: number = Math.random(),
): number {
  const ceiling = Math.min(policy.maxDelayMs, policy.initialDelayMs * 2 ** Math.min(attempt - 1, 30))
  return Math.max(1, Math.round(ceiling * random))
}

/** What becomes of a try that failed. */
export function judgeFailure(error: unknown, attempt: number, policy: RetryPolicy): Verdict {
  if (error instanceof Error && error.name === 'PermanentFailure') return { deadReason: describe(error) }
  if (attempt >= policy.maxAttempts) return { deadReason: `failed ${attempt} times, last: ${describe(error)}` }
  return { retryAfterMs: backoffMs(attempt, policy) }
}

/** Judged before the handler starts: a message that kills its process at every try must not be tried for ever. */
export function exhaustedBefore(attempt: number, policy: RetryPolicy): string | undefined {
  return attempt > policy.maxAttempts ? `given up before attempt ${attempt}: earlier attempts never finished` : undefined
}

function describe(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return text.length > 500 ? `${text.slice(0, 499)}…` : text
}
