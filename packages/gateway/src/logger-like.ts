import { guarded } from '@platform/kernel'

/** pino's call signature. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** Whatever the user's logger throws, nothing of ours fails by it. */
export function safeLogger(logger: LoggerLike | undefined): LoggerLike {
  return {
    debug: (fields, message) => guarded(() => logger?.debug(fields, message)),
    info: (fields, message) => guarded(() => logger?.info(fields, message)),
    warn: (fields, message) => guarded(() => logger?.warn(fields, message)),
    error: (fields, message) => guarded(() => logger?.error(fields, message)),
  }
}
