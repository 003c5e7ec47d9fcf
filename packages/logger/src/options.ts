import { LoggerError } from './errors.ts'

export type LogFormat = 'json' | 'ecs' | 'pretty'

export interface LoggerOptions {
  /** Of the program; on every line. 1 to 100 characters. */
  name: string
  /** `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`. Default `info`. */
  level?: string | undefined
  /** pino's JSON, Elastic Common Schema, or text for people. Default `json`. */
  format?: LogFormat | undefined
  redact?: RedactOptions | undefined
  /** A file descriptor, the path of a file to append to, or a stream. Default 1, the standard output. */
  destination?: number | string | NodeJS.WritableStream | undefined
  limits?: LimitOptions | undefined
  /** What waits in memory while the destination takes nothing, in bytes. Default 1 MiB, range 4 KiB and more. */
  bufferBytes?: number | undefined
}

export interface RedactOptions {
  /** More names whose values never show; case and the separators `-`, `_`, `.` do not count. */
  keys?: readonly string[] | undefined
  /** Secret texts that never show wherever they stand; asked at every line. Texts below 4 characters are left out. */
  values?: (() => Iterable<string>) | undefined
}

export interface LimitOptions {
  /** Levels of nesting. Default 8, range 1 to 32. */
  depth?: number | undefined
  /** Keys of an object, items of a list. Default 100, range 1 to 10,000. */
  width?: number | undefined
  /** Characters of one text. Default 8,192, range 16 and more. */
  stringLength?: number | undefined
  /** Characters of one line, of which the call, the child and the context get a quarter each. Default 65,536, range 4,096 and more. */
  lineLength?: number | undefined
}

export interface Limits {
  readonly depth: number
  readonly width: number
  readonly stringLength: number
  readonly lineLength: number
}

export interface ResolvedLoggerOptions {
  readonly name: string
  readonly level: string
  readonly format: LogFormat
  readonly keys: readonly string[]
  readonly values: (() => Iterable<string>) | undefined
  readonly destination: number | string | NodeJS.WritableStream
  readonly limits: Limits
  readonly bufferBytes: number
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']
const formats: readonly string[] = ['json', 'ecs', 'pretty']

export function resolveOptions(options: LoggerOptions): ResolvedLoggerOptions {
  const { name, level = 'info', format = 'json', redact = {}, destination = 1, limits = {}, bufferBytes = 1024 * 1024 } = options
  must(typeof name === 'string' && name.length > 0 && name.length <= 100, 'name', 'a text of 1 to 100 characters')
  must(levels.includes(level), 'level', `one of ${levels.join(', ')}`)
  must(formats.includes(format), 'format', `one of ${formats.join(', ')}`)
  const { keys = [], values } = redact
  must(Array.isArray(keys) && keys.every((key) => typeof key === 'string' && key !== ''), 'redact.keys', 'a list of names')
  must(values === undefined || typeof values === 'function', 'redact.values', 'a function')
  must(isDestination(destination), 'destination', 'a file descriptor, a path or a writable stream')
  return {
    name,
    level,
    format,
    keys,
    values,
    destination,
    limits: {
      depth: within('limits.depth', limits.depth ?? 8, 1, 32),
      width: within('limits.width', limits.width ?? 100, 1, 10_000),
      stringLength: within('limits.stringLength', limits.stringLength ?? 8_192, 16, 2 ** 28),
      lineLength: within('limits.lineLength', limits.lineLength ?? 65_536, 4_096, 2 ** 28),
    },
    bufferBytes: within('bufferBytes', bufferBytes, 4_096, 2 ** 30),
  }
}

function isDestination(destination: unknown): boolean {
  if (typeof destination === 'number') return Number.isInteger(destination) && destination >= 0
  if (typeof destination === 'string') return destination !== ''
  return typeof destination === 'object' && destination !== null && 'write' in destination && typeof destination.write === 'function'
}

function within(option: string, value: number, min: number, max: number): number {
  must(Number.isInteger(value) && value >= min && value <= max, option, `a whole number from ${min} to ${max}`)
  return value
}

export function must(condition: boolean, option: string, expected: string): asserts condition {
  if (!condition) throw new LoggerError('ERR_LOGGER_OPTION', `option "${option}" must be ${expected}`)
}
