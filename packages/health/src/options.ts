import { choiceOption, durationOption, functionOption, integerOption, knownOptions, safeLogger } from '@platform/kernel'
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
  /** Checks that run at the same time; the others wait for their turn. A run past its `timeoutMs` counts no more. Default 8; at least 1. */
  maxConcurrent?: number | undefined
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
  /** The user's, guarded. */
  readonly logger: LoggerLike
  readonly maxConcurrent: number
}

const kinds = ['critical', 'shared', 'optional'] as const
const checkKeys = ['run', 'kind', 'intervalMs', 'timeoutMs', 'rise', 'fall']

const refuse = (option: string, problem: string): HealthError => new HealthError('ERR_HEALTH_OPTION', `createHealth: ${option} ${problem}`)

export function resolveOptions(options: HealthOptions): ResolvedHealthOptions {
  knownOptions(refuse, '', options, ['checks', 'logger', 'maxConcurrent'])
  const { checks, logger, maxConcurrent = 8 } = options
  if (typeof checks !== 'object' || checks === null) throw refuse('checks', 'must be an object of checks by name')
  return {
    checks: Object.entries(checks).map(([name, check]) => resolveCheck(name, check)),
    logger: safeLogger(logger),
    maxConcurrent: integerOption(refuse, 'maxConcurrent', maxConcurrent, 1),
  }
}

function resolveCheck(name: string, check: Check): ResolvedCheck {
  const where = `checks.${name}`
  knownOptions(refuse, where, check, checkKeys)
  const { run, kind, intervalMs = 5_000, timeoutMs = 2_000, rise = 1, fall = 3 } = check
  if (run === undefined) throw refuse(`${where}.run`, 'must be a function')
  return {
    name,
    run: functionOption(refuse, `${where}.run`, run),
    kind: choiceOption(refuse, `${where}.kind`, kind, kinds),
    intervalMs: durationOption(refuse, `${where}.intervalMs`, intervalMs, 10),
    timeoutMs: durationOption(refuse, `${where}.timeoutMs`, timeoutMs, 1),
    rise: integerOption(refuse, `${where}.rise`, rise, 1),
    fall: integerOption(refuse, `${where}.fall`, fall, 1),
  }
}
