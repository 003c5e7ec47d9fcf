const brand = Symbol.for('@platform/logger/error')

export type LoggerErrorCode = 'ERR_LOGGER_OPTION' | 'ERR_LOGGER_AUDIT_EVENT' | 'ERR_LOGGER_AUDIT_NOT_WRITTEN'

/** A wrong option, or a record that an audit log could not keep. Logging itself never throws. */
export class LoggerError extends Error {
  readonly code: LoggerErrorCode

  constructor(code: LoggerErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'LoggerError'
    this.code = code
    Object.defineProperty(this, brand, { value: true })
  }

  /** Also true for an error of another installed copy of this package. */
  static isInstance(error: unknown): error is LoggerError {
    return typeof error === 'object' && error !== null && brand in error
  }
}
