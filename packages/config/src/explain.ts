import { ConfigError } from './errors.ts'
import type { Origin } from './layers.ts'
import { meant } from './names.ts'
import { Secret } from './secret.ts'
import { isPlainObject } from './tree.ts'

export interface Explanation {
  readonly source: string
  readonly location: string
  /** `[secret]` where the value is one. */
  readonly value: unknown
}

export function explain(path: string, current: unknown, origins: ReadonlyMap<string, Origin>): Explanation {
  const keys = path.split('.')
  let value = current
  for (const key of keys) {
    if (Secret.isInstance(value)) break
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) {
      const hint = meant(path, pathsOf(current))
      throw new ConfigError('ERR_CONFIG_PATH', `there is no setting "${path}"${hint ? `; ${hint}` : ''}`)
    }
    value = (value as Record<string, unknown>)[key]
  }
  const origin = ownOrigin(keys, origins) ?? innerOrigin(path, origins)
  return { source: origin?.source ?? 'default', location: origin?.location ?? 'schema', value: masked(value) }
}

/** An item of a list came with its list. */
function ownOrigin(keys: readonly string[], origins: ReadonlyMap<string, Origin>): Origin | undefined {
  const ends = keys.map((_, index) => keys.slice(0, keys.length - index).join('.'))
  return ends.map((end) => origins.get(end)).find((origin) => origin !== undefined)
}

/** An object may have been put together from several places. */
function innerOrigin(path: string, origins: ReadonlyMap<string, Origin>): Origin | undefined {
  const inner = [...origins].filter(([key]) => key.startsWith(`${path}.`)).map(([, origin]) => origin)
  const joined = (part: keyof Origin) => [...new Set(inner.map((origin) => origin[part]))].join(', ')
  return inner.length === 0 ? undefined : { source: joined('source'), location: joined('location') }
}

function masked(value: unknown): unknown {
  if (Secret.isInstance(value)) return String(value)
  if (Array.isArray(value)) return value.map(masked)
  return isPlainObject(value) ? Object.fromEntries(Object.entries(value).map(([key, child]) => [key, masked(child)])) : value
}

function pathsOf(value: unknown, around: readonly string[] = []): string[] {
  const own = around.length === 0 ? [] : [around.join('.')]
  return isPlainObject(value) ? [...own, ...Object.entries(value).flatMap(([key, child]) => pathsOf(child, [...around, key]))] : own
}
