import { guarded } from '@platform/kernel'

/** The members of a pino-like logger that this package calls. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** A logger that throws breaks nothing here. */
export function guardedLogger(logger: LoggerLike | undefined): LoggerLike | undefined {
  if (logger === undefined) return undefined
  return {
    debug: (fields, message) => guarded(() => logger.debug(fields, message)),
    info: (fields, message) => guarded(() => logger.info(fields, message)),
    warn: (fields, message) => guarded(() => logger.warn(fields, message)),
    error: (fields, message) => guarded(() => logger.error(fields, message)),
  }
}
