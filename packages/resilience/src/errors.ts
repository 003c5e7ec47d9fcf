const brand = Symbol.for('@platform/resilience/error')

/** Every code this package throws, with what it means to the caller. */
export const resilienceErrorCodes = {
  ERR_RESILIENCE_TIMEOUT: 'No answer in time. The work may still be running and may have had its effect.',
  ERR_RESILIENCE_CIRCUIT_OPEN: 'Rejected here, nothing was sent: the dependency failed too often.',
  ERR_RESILIENCE_ISOLATED: 'Rejected here, nothing was sent: an operator holds the policy closed to calls.',
  ERR_RESILIENCE_BULKHEAD_FULL: 'Rejected here, nothing was sent: too many calls run and wait already.',
  ERR_RESILIENCE_RATE_LIMITED: 'Rejected here, nothing was sent: the rate limit is used up.',
  ERR_RESILIENCE_OPTION: 'An option is unknown or out of range; thrown when the object is made or updated.',
} as const

export type ResilienceErrorCode = keyof typeof resilienceErrorCodes

export interface ResilienceErrorFacts {
  /** Name of the policy. */
  policy?: string | undefined
  /** ERR_RESILIENCE_TIMEOUT: whose limit it was. `deadline` is one inherited from an outer policy or the caller's request. */
  which?: 'total' | 'attempt' | 'deadline' | undefined
  /** ERR_RESILIENCE_TIMEOUT and _BULKHEAD_FULL: how long the call had been under way. */
  elapsedMs?: number | undefined
  /** _CIRCUIT_OPEN, _RATE_LIMITED: earliest time at which a new try can get through. */
  retryAfterMs?: number | undefined
  /** _OPTION: path of the option. */
  option?: string | undefined
  cause?: unknown
}

export class ResilienceError extends Error {
  static {
    // On the prototype: a rejection is made most when there is least time.
    Object.defineProperty(this.prototype, brand, { value: true })
    Object.defineProperty(this.prototype, 'name', { value: 'ResilienceError', configurable: true, writable: true })
  }

  readonly code: ResilienceErrorCode
  declare readonly policy?: string
  declare readonly which?: 'total' | 'attempt' | 'deadline'
  declare readonly elapsedMs?: number
  declare readonly retryAfterMs?: number
  declare readonly option?: string

  constructor(code: ResilienceErrorCode, message: string, facts: ResilienceErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.code = code
    const own = this as { -readonly [name in keyof ResilienceErrorFacts]: unknown }
    if (facts.policy !== undefined) own.policy = facts.policy
    if (facts.which !== undefined) own.which = facts.which
    if (facts.elapsedMs !== undefined) own.elapsedMs = facts.elapsedMs
    if (facts.retryAfterMs !== undefined) own.retryAfterMs = facts.retryAfterMs
    if (facts.option !== undefined) own.option = facts.option
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is ResilienceError {
    try {
      return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
    } catch {
      // A proxy of somebody else's.
      return false
    }
  }
}

/** What the checks of options throw. */
export const refuseOption = (option: string, problem: string): ResilienceError =>
  new ResilienceError('ERR_RESILIENCE_OPTION', `${option} ${problem}`, { option })

/** A rejection without a stack trace: it is thrown most when there is least time, and its trace would end in this package. */
export function localRejection(code: ResilienceErrorCode, message: string, facts: ResilienceErrorFacts): ResilienceError {
  const limit = Error.stackTraceLimit
  Reflect.set(Error, 'stackTraceLimit', 0)
  try {
    return new ResilienceError(code, message, facts)
  } finally {
    Reflect.set(Error, 'stackTraceLimit', limit)
  }
}

/** Rejected before anything was sent: says nothing about the dependency's health and is not tried again by the same policy. */
export function isLocalRejection(error: unknown): error is ResilienceError {
  return ResilienceError.isInstance(error) && error.code !== 'ERR_RESILIENCE_TIMEOUT'
}
