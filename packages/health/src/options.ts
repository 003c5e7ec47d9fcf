import type { Check, CheckKind, CheckRun } from './check.ts'
import { HealthError } from './errors.ts'

/** pino's call signature. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export interface HealthOptions {
  /** Names are shown by the probes. */
  checks: Readonly<Record<string, Check>>
  /** Told about every change of a check's status, with the raw cause. Default: nobody. */
  logger?: LoggerLike | undefined
}

export interface ResolvedCheck {
  readonly name: string
  readonly run: CheckRun
  readonly kind: CheckKind
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly rise: number
  readonly fall: number
}

export interface ResolvedHealthOptions {
  readonly checks: readonly ResolvedCheck[]
  readonly logger: LoggerLike | undefined
}

const kinds: readonly string[] = ['critical', 'shared', 'optional']
const checkKeys = ['run', 'kind', 'intervalMs', 'timeoutMs', 'rise', 'fall']

function wrong(option: string, expected: string): never {
  throw new HealthError('ERR_HEALTH_OPTION', `createHealth: ${option} must be ${expected}`)
}

function number(option: string, value: number | undefined, fallback: number, lowest: number, integer: boolean): number {
  if (value === undefined) return fallback
  if (
    typeof value !== 'number' ||
    !Number.isFinite(value) ||
    value < lowest ||
    value > 2 ** 31 - 1 ||
    (integer && !Number.isInteger(value))
  ) {
    wrong(option, `${integer ? 'an integer' : 'a number'} of at least ${lowest}`)
  }
  return value
}

function unknownKeys(where: string, value: object, known: readonly string[]): void {
  for (const key of Object.keys(value))
    if (!known.includes(key)) wrong(`${where}${key}`, `absent: it is no option (known: ${known.join(', ')})`)
}

export function resolveOptions(options: HealthOptions): ResolvedHealthOptions {
  if (typeof options !== 'object' || options === null) wrong('options', 'an object')
  unknownKeys('', options, ['checks', 'logger'])
  if (typeof options.checks !== 'object' || options.checks === null) wrong('checks', 'an object of checks by name')
  const checks = Object.entries(options.checks).map(([name, check]): ResolvedCheck => {
    const where = `checks.${name}`
    if (typeof check !== 'object' || check === null) wrong(where, 'an object')
    unknownKeys(`${where}.`, check, checkKeys)
    if (typeof check.run !== 'function') wrong(`${where}.run`, 'a function')
    if (!kinds.includes(check.kind)) wrong(`${where}.kind`, `one of ${kinds.join(', ')}`)
    return {
      name,
      run: check.run,
      kind: check.kind,
      intervalMs: number(`${where}.intervalMs`, check.intervalMs, 5_000, 10, false),
      timeoutMs: number(`${where}.timeoutMs`, check.timeoutMs, 2_000, 1, false),
      rise: number(`${where}.rise`, check.rise, 1, 1, true),
      fall: number(`${where}.fall`, check.fall, 3, 1, true),
    }
  })
  return { checks, logger: options.logger }
}
