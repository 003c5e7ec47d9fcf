/** Every code this package throws; match `error.code`, never the message. */
export const serviceErrorCodes = {
  ERR_SERVICE_OPTION: 'an option is wrong; the message names it',
  ERR_SERVICE_MISSING_NEED: 'a component needs one that does not exist',
  ERR_SERVICE_CYCLE: 'components need each other in a circle',
  ERR_SERVICE_START_FAILED: 'a component did not become ready; `component` names it, `cause` says why',
  ERR_SERVICE_START_TIMEOUT:
    'starting took longer than startTimeoutMs; `component` names the first that it waited for, the message all of them',
  ERR_SERVICE_STOPPED:
    'start() after, or interrupted by, stop(); an HTTP server that was closed, does not listen, or ends its long answers',
  ERR_SERVICE_CRASHED: 'run(): an uncaught exception or unhandled rejection ended the service; `cause` is it',
  ERR_SERVICE_PORT_TAKEN: 'another program listens on the port',
  ERR_SERVICE_TIMEOUT: 'drain or close ran into its deadline',
} as const

export type ServiceErrorCode = keyof typeof serviceErrorCodes

const brand = Symbol.for('@platform/service/error')

export class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly code: ServiceErrorCode
  /** The component it is about. */
  readonly component?: string
  /** For ERR_SERVICE_PORT_TAKEN. */
  readonly port?: number

  constructor(code: ServiceErrorCode, message: string, options: { cause?: unknown; component?: string; port?: number } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    if (options.component !== undefined) this.component = options.component
    if (options.port !== undefined) this.port = options.port
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is ServiceError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}
