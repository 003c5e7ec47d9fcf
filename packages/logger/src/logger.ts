import type { Bindings, ChildLoggerOptions, LogFn as PinoLogFn, Logger as PinoLogger } from 'pino'
import type { SinkStats } from './sink.ts'

/** pino's forms, and `(message, fields)` or `(message, error)`. */
export type LogFn = PinoLogFn & ((message: string, fields: object) => void)

/** pino's logger, with an end. Fits wherever a `pino.Logger` is asked for. */
export interface Logger extends PinoLogger {
  trace: LogFn
  debug: LogFn
  info: LogFn
  warn: LogFn
  error: LogFn
  fatal: LogFn
  /** A logger that adds `bindings` to every line. Takes `level`, `msgPrefix`, `serializers` and `customLevels`; `redact` and `formatters` are refused. */
  child<C extends string = never>(bindings: Bindings | object, options?: ChildLoggerOptions<C>): Logger & PinoLogger<C>
  /**
   * Another level for a time, for all loggers that follow this one's root or, with `module`, for children made with the binding `module`, now and
   * later. After `forMs` (default 600,000, at most a day) they follow their parents again. Throws `ERR_LOGGER_OPTION`.
   */
  overrideLevel(level: string, options?: { module?: string | undefined; forMs?: number | undefined }): void
  /** Of the destination, shared by all children. */
  stats(): SinkStats
  /** Writes what waits, at most `timeoutMs` (default 1,000), and frees what the logger opened. Later lines are dropped. On a child it only writes. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
