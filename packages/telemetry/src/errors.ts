/** Every code this package throws; match `error.code`, never the message. */
export const telemetryErrorCodes = {
  ERR_TELEMETRY_OPTION: 'an option of startTelemetry is wrong; the message names it',
  ERR_TELEMETRY_ALREADY_STARTED: 'the OpenTelemetry globals of this process are taken, by an earlier startTelemetry or another SDK',
  ERR_TELEMETRY_CLOSED: 'metrics() after close()',
} as const

export type TelemetryErrorCode = keyof typeof telemetryErrorCodes

const brand = Symbol.for('@platform/telemetry/error')

export class TelemetryError extends Error {
  override readonly name = 'TelemetryError'
  readonly code: TelemetryErrorCode

  constructor(code: TelemetryErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is TelemetryError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}

export function refuse(option: string, problem: string): TelemetryError {
  return new TelemetryError('ERR_TELEMETRY_OPTION', `startTelemetry: ${option} ${problem}`)
}
