import { durationOption, functionOption, integerOption, knownOptions } from '@platform/kernel'
import { LoggerError } from './errors.ts'
import type { RedactionRules } from './redaction/redaction.ts'
import type { RepeatRules } from './repeats.ts'

export type LogFormat = 'json' | 'ecs' | 'pretty'

export interface LoggerOptions {
  /** Of the program; on every line. 1 to 100 characters. */
  name: string
  /** Of the program; on every line, as `version` (`json`) or `service.version` (`ecs`). 1 to 100 characters. Default: none. */
  version?: string | undefined
  /** `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`. Default `info`. */
  level?: string | undefined
  /** pino's JSON, Elastic Common Schema, or text for people. Default `json`. */
  format?: LogFormat | undefined
  redact?: RedactOptions | undefined
  /** A file descriptor, the path of a file to append to, or a stream. Default 1, the standard output. */
  destination?: number | string | NodeJS.WritableStream | undefined
  limits?: LimitOptions | undefined
  /** Leaves out lines below `warn` that repeat one message more often than this. Default: none are left out. */
  repeats?: RepeatOptions | undefined
  /** What waits in memory while the destination takes nothing, in bytes. Default 1 MiB, range 4 KiB and more. */
  bufferBytes?: number | undefined
  /**
   * How long a line may wait for room when the buffer is full, in milliseconds, before it is dropped. The process stands still meanwhile: for jobs
   * that would rather be slow than lose lines. Default 0, range 0 to 60,000.
   */
  fullWaitMs?: number | undefined
}

export interface RepeatOptions {
  /** Lines with one message in one window. Default 10, range 1 and more. */
  max?: number | undefined
  /** Milliseconds. Default 1,000, range 1 to 3,600,000. */
  windowMs?: number | undefined
}

export interface RedactOptions {
  /** Names that are shown although they look secret, like `keys`. */
  allow?: readonly string[] | undefined
  /** Places whose values never show, like `user.ssn`, `items.*.code`; `*` stands for any key or item. */
  places?: readonly string[] | undefined
  /** What never shows in any text. Should be linear: each is run over every text. */
  patterns?: readonly RegExp[] | undefined
  /** What stands in place of a secret. Default `[redacted]`, 1 to 100 characters. */
  replacement?: string | undefined
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
  readonly version: string | undefined
  readonly level: string
  readonly format: LogFormat
  readonly redaction: RedactionRules
  readonly destination: number | string | NodeJS.WritableStream
  readonly limits: Limits
  readonly repeats: RepeatRules | undefined
  readonly bufferBytes: number
  readonly fullWaitMs: number
}

export const levels: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']
const formats: readonly string[] = ['json', 'ecs', 'pretty']

const known = ['name', 'version', 'level', 'format', 'redact', 'destination', 'limits', 'repeats', 'bufferBytes', 'fullWaitMs']

const isShortText = (text: unknown): boolean => typeof text === 'string' && text.length > 0 && text.length <= 100

export function resolveOptions(options: LoggerOptions): ResolvedLoggerOptions {
  knownOptions(refuse, '', options, known)
  const { name, version, level = 'info', format = 'json', redact = {}, destination = 1, limits = {}, bufferBytes = 1024 * 1024 } = options
  must(isShortText(name), 'name', 'a text of 1 to 100 characters')
  must(version === undefined || isShortText(version), 'version', 'a text of 1 to 100 characters')
  must(levels.includes(level), 'level', `one of ${levels.join(', ')}`)
  must(formats.includes(format), 'format', `one of ${formats.join(', ')}`)
  must(isDestination(destination), 'destination', 'a file descriptor, a path or a writable stream')
  knownOptions(refuse, 'limits', limits, ['depth', 'width', 'stringLength', 'lineLength'])
  return {
    name,
    version,
    level,
    format,
    redaction: resolveRedaction(redact),
    destination,
    limits: {
      depth: integerOption(refuse, 'limits.depth', limits.depth ?? 8, 1, 32),
      width: integerOption(refuse, 'limits.width', limits.width ?? 100, 1, 10_000),
      stringLength: integerOption(refuse, 'limits.stringLength', limits.stringLength ?? 8_192, 16, 2 ** 28),
      lineLength: integerOption(refuse, 'limits.lineLength', limits.lineLength ?? 65_536, 4_096, 2 ** 28),
    },
    repeats: options.repeats && resolveRepeats(options.repeats),
    bufferBytes: integerOption(refuse, 'bufferBytes', bufferBytes, 4_096, 2 ** 30),
    fullWaitMs: durationOption(refuse, 'fullWaitMs', options.fullWaitMs ?? 0, 0, 60_000),
  }
}

function resolveRepeats(repeats: RepeatOptions): RepeatRules {
  knownOptions(refuse, 'repeats', repeats, ['max', 'windowMs'])
  return {
    max: integerOption(refuse, 'repeats.max', repeats.max ?? 10, 1),
    windowMs: durationOption(refuse, 'repeats.windowMs', repeats.windowMs ?? 1_000, 1, 3_600_000),
  }
}

export function resolveRedaction(redact: RedactOptions): RedactionRules {
  knownOptions(refuse, 'redact', redact, ['keys', 'allow', 'places', 'patterns', 'replacement', 'values'])
  const { patterns = [], replacement = '[redacted]' } = redact
  must(
    Array.isArray(patterns) && patterns.every((pattern) => pattern instanceof RegExp),
    'redact.patterns',
    'a list of regular expressions',
  )
  const isGood = typeof replacement === 'string' && replacement.length > 0 && replacement.length <= 100
  must(isGood, 'redact.replacement', 'a text of 1 to 100 characters')
  return {
    keys: names('redact.keys', redact.keys),
    allow: names('redact.allow', redact.allow),
    places: names('redact.places', redact.places),
    patterns,
    replacement,
    values: functionOption(refuse, 'redact.values', redact.values),
  }
}

function names(option: string, given: readonly string[] = []): readonly string[] {
  must(Array.isArray(given) && given.every((name) => typeof name === 'string' && name !== ''), option, 'a list of names')
  return [...given]
}

function isDestination(destination: unknown): boolean {
  if (typeof destination === 'number') return Number.isInteger(destination) && destination >= 0
  if (typeof destination === 'string') return destination !== ''
  return typeof destination === 'object' && destination !== null && 'write' in destination && typeof destination.write === 'function'
}

export function must(condition: boolean, option: string, expected: string): asserts condition {
  if (!condition) throw refuse(option, `must be ${expected}`)
}

export function refuse(option: string, problem: string): LoggerError {
  return new LoggerError('ERR_LOGGER_OPTION', `option "${option}" ${problem}`)
}
