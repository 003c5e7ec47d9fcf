/** Every code this package throws; match `error.code`, never the message. */
export const healthErrorCodes = {
  ERR_HEALTH_OPTION: 'an option of createHealth or an argument of setState is wrong',
  ERR_HEALTH_NOT_READY: 'check(): readiness fails; `failing` names the checks',
  ERR_HEALTH_CHECK_TIMEOUT: 'a check did not answer within its timeoutMs (seen in logs only)',
  ERR_HEALTH_CLOSED: 'the object was closed',
} as const

export type HealthErrorCode = keyof typeof healthErrorCodes

const brand = Symbol.for('@platform/health/error')

export class HealthError extends Error {
  override readonly name = 'HealthError'
  readonly code: HealthErrorCode
  /** Names of the failing critical checks, for ERR_HEALTH_NOT_READY. */
  readonly failing: readonly string[]

  constructor(code: HealthErrorCode, message: string, options: { cause?: unknown; failing?: readonly string[] } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.failing = options.failing ?? []
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is HealthError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}
