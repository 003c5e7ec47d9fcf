import { guarded } from '@platform/kernel'

/** pino's call signature. With a `level` property the admin listener can change it. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** Reporting cannot hurt: whatever the user's logger throws, the lifecycle goes on. */
export function safeLogger(logger: LoggerLike | undefined): LoggerLike {
  return {
    debug: (fields, message) => guarded(() => logger?.debug(fields, message)),
    info: (fields, message) => guarded(() => logger?.info(fields, message)),
    warn: (fields, message) => guarded(() => logger?.warn(fields, message)),
    error: (fields, message) => guarded(() => logger?.error(fields, message)),
  }
}
