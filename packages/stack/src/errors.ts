/** Every code this package throws, with what it means. */
export const stackErrorCodes = {
  ERR_STACK_OPTION: 'an option or a variable is wrong; `option` names it',
  ERR_STACK_MISSING: 'the server is neither named in the environment nor on the machine, and nothing may or can bring it here',
  ERR_STACK_INSTALL: 'installing the server from the distribution, or pulling its image, failed',
  ERR_STACK_PORT_TAKEN: 'the port that was asked for is taken',
  ERR_STACK_DIED: 'a program ended while it was starting; `logFile` stays behind',
  ERR_STACK_TIMEOUT: 'the server did not answer before the deadline; `logFile` stays behind',
  ERR_STACK_UNREACHABLE: 'the server that the environment names does not answer',
  ERR_STACK_NOT_OWNED: 'the server comes from the environment, so it cannot be killed, frozen or restarted here',
  ERR_STACK_STOPPED: 'the server or its supervisor is gone for good',
  ERR_STACK_REFUSED: 'the server answered with an error, or nginx refused a new configuration',
  ERR_STACK_SYSTEM: 'this machine refused a folder, a process or a port',
  ERR_STACK_PLATFORM: 'this operating system is not supported',
} as const

export type StackErrorCode = keyof typeof stackErrorCodes

export interface StackErrorFacts {
  option?: string | undefined
  logFile?: string | undefined
  cause?: unknown
}

const brand: unique symbol = Symbol.for('@platform/stack/error') as never

export class StackError extends Error {
  readonly code: StackErrorCode
  readonly option: string | undefined
  readonly logFile: string | undefined

  constructor(code: StackErrorCode, message: string, facts: StackErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.name = 'StackError'
    this.code = code
    this.option = facts.option
    this.logFile = facts.logFile
    Object.defineProperty(this, brand, { value: true })
  }

  static isInstance(error: unknown): error is StackError {
    return typeof error === 'object' && error !== null && brand in error
  }
}

/** Runs what only the machine can refuse (a full disk, a folder that is not there, too many open files). */
export function onMachine<T>(what: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    if (StackError.isInstance(cause)) throw cause
    throw new StackError('ERR_STACK_SYSTEM', `${what}: ${(cause as Error).message}`, { cause })
  }
}
