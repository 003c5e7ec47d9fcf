/** Every code this package throws; match `error.code`, never the message. */
export const nestjsErrorCodes = {
  ERR_NESTJS_OPTION: 'an option is wrong; the message names it',
  ERR_NESTJS_NOT_READY: 'an object that a factory of forRootAsync made was not ready in time',
  ERR_NESTJS_ADAPTER: 'nestHttp: the application runs on neither Express nor Fastify',
} as const

export type NestjsErrorCode = keyof typeof nestjsErrorCodes

const brand = Symbol.for('@platform/nestjs/error')

export class NestjsError extends Error {
  override readonly name = 'NestjsError'
  readonly code: NestjsErrorCode

  constructor(code: NestjsErrorCode, message: string) {
    super(message)
    this.code = code
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is NestjsError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}
