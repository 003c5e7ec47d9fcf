const codes = {
  ERR_GATEWAY_OPTION: 'an option is wrong; the message names it',
  ERR_GATEWAY_FILE: 'the file of routes is refused; `faults` say where and why',
  ERR_GATEWAY_NGINX: 'nginx cannot be run, or refused what it was given',
  ERR_GATEWAY_NOT_TAKEN: 'nginx did not take the new configuration over in time; the old one is in force again',
  ERR_GATEWAY_CLOSED: 'the gateway is closed',
} as const

export type GatewayErrorCode = keyof typeof codes

export const gatewayErrorCodes: readonly GatewayErrorCode[] = Object.keys(codes) as GatewayErrorCode[]

/** Something that a file of routes must not say. */
export interface Fault {
  /** From 1. */
  line: number
  column: number
  /** Name of the route that it stands in, if it stands in one. */
  route: string | undefined
  problem: string
}

interface Facts {
  cause?: unknown
  option?: string | undefined
  faults?: readonly Fault[] | undefined
}

const brand = Symbol.for('@platform/gateway/error')

/** The only error class of this package; match `code`. Never carries a token or a key. */
export class GatewayError extends Error {
  override readonly name: string = 'GatewayError'
  readonly code: GatewayErrorCode
  readonly option: string | undefined
  /** All that is wrong with the file, in its order. */
  readonly faults: readonly Fault[]

  constructor(code: GatewayErrorCode, message?: string, { option, faults = [], ...rest }: Facts = {}) {
    super(message ?? codes[code], 'cause' in rest ? { cause: rest.cause } : undefined)
    this.code = code
    this.option = option
    this.faults = faults
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is GatewayError {
    return typeof error === 'object' && error !== null && brand in error
  }
}

export function refuseOption(option: string, problem: string): GatewayError {
  return new GatewayError('ERR_GATEWAY_OPTION', `option ${option} ${problem}`, { option })
}

export function faultyFile(file: string, faults: readonly Fault[]): GatewayError {
  const lines = faults.map(({ line, column, route, problem }) => `${file}:${line}:${column}: ${route ? `route ${route}: ` : ''}${problem}`)
  return new GatewayError('ERR_GATEWAY_FILE', lines.join('\n'), { faults })
}
