import { longestTimerMs } from './timers.ts'

/**
 * Checks of options in one wording for all packages. `refuse` makes the package's ERR_<PACKAGE>_OPTION of the option's path and what is wrong
 * with it; a check returns the value or throws that. Texts are never quoted: a secret may stand in the wrong place.
 */
type Refuse = (option: string, problem: string) => Error

export function numberOption(refuse: Refuse, option: string, value: unknown, min: number, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && value >= min && value <= max) return value
  throw refuse(option, `must be a number ${range(min, max)}, not ${kindOf(value)}`)
}

export function integerOption(refuse: Refuse, option: string, value: unknown, min: number, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw refuse(option, `must be a whole number ${range(min, max)}, not ${kindOf(value)}`)
}

/** Milliseconds, at most what a timer can wait. */
export function durationOption(refuse: Refuse, option: string, value: unknown, min: number, max: number = longestTimerMs): number {
  return numberOption(refuse, option, value, min, max)
}

export function choiceOption<T extends string | number>(refuse: Refuse, option: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T
  throw refuse(option, `must be one of ${choices.join(', ')}`)
}

/** A function, or nothing. */
export function functionOption<T>(refuse: Refuse, option: string, value: T): T {
  if (value === undefined || typeof value === 'function') return value
  throw refuse(option, `must be a function, not ${kindOf(value)}`)
}

/** Nothing is accepted and ignored. `path` is empty for the options themselves, or names the one that holds these. */
export function knownOptions(refuse: Refuse, path: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw refuse(path || 'options', `must be an object, not ${kindOf(options)}`)
  }
  const stranger = Object.keys(options).find((name) => !known.includes(name))
  if (stranger === undefined) return
  throw refuse(path === '' ? stranger : `${path}.${stranger}`, `is unknown; known are ${known.join(', ')}`)
}

function range(min: number, max: number): string {
  return max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`
}

function kindOf(value: unknown): string {
  if (typeof value === 'number' || value === undefined || value === null) return String(value)
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`
}
