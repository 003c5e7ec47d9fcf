const brand = Symbol.for('@platform/config/error')

export type ConfigErrorCode =
  | 'ERR_CONFIG_INVALID'
  | 'ERR_CONFIG_UNREACHABLE'
  | 'ERR_CONFIG_VETOED'
  | 'ERR_CONFIG_CLOSED'
  | 'ERR_CONFIG_SOURCE'
  | 'ERR_CONFIG_ROTATION'
  | 'ERR_CONFIG_SCHEMA'
  | 'ERR_CONFIG_OPTION'
  | 'ERR_CONFIG_PATH'

/** One thing that is wrong with a setting. Never carries a value. */
export interface Fault {
  /** The setting as a dotted path; empty when the whole source is unusable. */
  readonly path: string
  readonly source?: string | undefined
  /** `config.yaml:3`, `ORDERS_PORT`, `--port`, … */
  readonly location?: string | undefined
  /** What stands there when it is right. */
  readonly expected: string
  readonly hint?: string | undefined
}

/**
 * - `ERR_CONFIG_INVALID`: the settings are not usable; `faults` lists every one of them.
 * - `ERR_CONFIG_UNREACHABLE`: a remote source gave no settings and there is no usable local copy of them; `faults` as above.
 * - `ERR_CONFIG_VETOED`: a listener did not prepare for a change, or not in time; its reason is the `cause`.
 * - `ERR_CONFIG_CLOSED`: the configuration is closed.
 * - `ERR_CONFIG_SOURCE`: a server that keeps settings answered with something else than settings; `status` is its HTTP status.
 * - `ERR_CONFIG_ROTATION`: a step of a rotation failed; nothing was switched.
 * - `ERR_CONFIG_SCHEMA`: the schema cannot describe settings (not an object, or two settings share one variable name).
 * - `ERR_CONFIG_OPTION`: an option of this package is wrong.
 * - `ERR_CONFIG_PATH`: `explain` was asked about a setting that does not exist.
 */
export class ConfigError extends Error {
  readonly code: ConfigErrorCode
  readonly faults: readonly Fault[]
  readonly status: number | undefined

  constructor(
    code: ConfigErrorCode,
    message: string,
    options?: { faults?: readonly Fault[] | undefined; cause?: unknown; status?: number | undefined },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ConfigError'
    this.code = code
    this.faults = options?.faults ?? []
    this.status = options?.status
    Object.defineProperty(this, brand, { value: true })
  }

  /** Also true for an error of another installed copy of this package. */
  static isInstance(error: unknown): error is ConfigError {
    return typeof error === 'object' && error !== null && brand in error
  }
}

export function optionError(option: string, expected: string): ConfigError {
  return new ConfigError('ERR_CONFIG_OPTION', `option "${option}" must be ${expected}`)
}

export function describeFault(fault: Fault): string {
  const where = fault.location ?? fault.source
  return `${fault.path || '(all settings)'}: expected ${fault.expected}${where ? ` (${where})` : ''}${fault.hint ? `; ${fault.hint}` : ''}`
}
