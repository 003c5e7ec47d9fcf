const brand = Symbol.for('@platform/logger.LoggerError')

export type LoggerErrorCode = 'ERR_LOGGER_OPTION'

/** `ERR_LOGGER_OPTION`: an option of this package is wrong. Logging itself never throws. */
export class LoggerError extends Error {
  readonly code: LoggerErrorCode

  constructor(code: LoggerErrorCode, message: string) {
    super(message)
    this.name = 'LoggerError'
    this.code = code
    Object.defineProperty(this, brand, { value: true })
  }

  /** Also true for an error of another installed copy of this package. */
  static isInstance(error: unknown): error is LoggerError {
    return typeof error === 'object' && error !== null && brand in error
  }
}
