import { ResilienceError } from './errors.ts'

/** setTimeout's longest delay. */
export const MAX_DELAY_MS = 2_147_483_647

export function invalidOption(option: string, expected: string): ResilienceError {
  return new ResilienceError('ERR_RESILIENCE_INVALID_OPTION', `${option} ${expected}`, { option })
}

export function onlyKnown(path: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw invalidOption(path, 'must be an object')
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw invalidOption(path === '' ? key : `${path}.${key}`, `is unknown; known are ${known.join(', ')}`)
  }
}

export function numberOption(path: string, value: unknown, range: { min: number; max?: number; integer?: boolean }): number {
  const { min, max = Number.MAX_SAFE_INTEGER, integer = false } = range
  if (typeof value !== 'number' || !(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
    throw invalidOption(path, `must be ${integer ? 'an integer' : 'a number'} from ${min} to ${max}`)
  }
  return value
}

export function durationOption(path: string, value: unknown, min = 1): number {
  return numberOption(path, value, { min, max: MAX_DELAY_MS })
}

export function functionOption(path: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw invalidOption(path, 'must be a function')
}

export function choiceOption<T extends string>(path: string, value: T, choices: readonly T[]): T {
  if (!choices.includes(value)) throw invalidOption(path, `must be one of ${choices.join(', ')}`)
  return value
}
