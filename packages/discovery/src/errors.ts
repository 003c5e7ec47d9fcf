const brand = Symbol.for('@platform/discovery/error')

/** Every code this package throws, with what it means to the caller. */
export const discoveryErrorCodes = {
  ERR_DISCOVERY_NO_INSTANCE: 'The service is known to have no instance, or nothing is known about it. Nothing was sent.',
  ERR_DISCOVERY_BUSY: 'Every instance has as many requests as one may have. Nothing was sent.',
  ERR_DISCOVERY_UNAVAILABLE: 'No registry answers and there is no earlier answer to fall back on.',
  ERR_DISCOVERY_REFUSED: 'The registry refused the request; asking again will not help.',
  ERR_DISCOVERY_CLOSED: 'The discovery or the client was closed.',
  ERR_DISCOVERY_LISTEN: 'The DNS responder could not listen on its address.',
  ERR_DISCOVERY_OPTION: 'An option is unknown or out of range.',
} as const

export type DiscoveryErrorCode = keyof typeof discoveryErrorCodes

export interface DiscoveryErrorFacts {
  service?: string | undefined
  /** HTTP status of the registry. */
  status?: number | undefined
  /** ERR_DISCOVERY_OPTION: path of the option. */
  option?: string | undefined
  cause?: unknown
}

const factNames = ['service', 'status', 'option'] as const

export class DiscoveryError extends Error {
  override readonly name = 'DiscoveryError'
  readonly code: DiscoveryErrorCode
  declare readonly service?: string
  declare readonly status?: number
  declare readonly option?: string

  constructor(code: DiscoveryErrorCode, message: string, { cause, ...facts }: DiscoveryErrorFacts = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    for (const name of factNames) if (facts[name] !== undefined) Object.assign(this, { [name]: facts[name] })
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is DiscoveryError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}

/** What the checks of options throw. */
export const refuseOption = (option: string, problem: string): DiscoveryError =>
  new DiscoveryError('ERR_DISCOVERY_OPTION', `${option} ${problem}`, { option })
