import { DiscoveryError } from './errors.ts'

export function invalidOption(option: string, expected: string): DiscoveryError {
  return new DiscoveryError('ERR_DISCOVERY_INVALID_OPTION', `${option} ${expected}`, { option })
}

export function onlyKnown(path: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw invalidOption(path, 'must be an object')
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw invalidOption(key, `is unknown to ${path}; known are ${known.join(', ')}`)
  }
}

export function durationOption(path: string, value: unknown, min: number, max = 2_147_483_647): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) throw invalidOption(path, `must be a number from ${min} to ${max}`)
  return value
}
