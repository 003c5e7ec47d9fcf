import { ConfigError } from './errors.ts'
import type { Fault } from './errors.ts'
import type { Origin } from './layers.ts'
import { meant } from './names.ts'
import { Secret, secretTexts } from './secret.ts'
import { deepFreeze, isPlainObject } from './tree.ts'

/** A part of the settings for those who follow changes; the shape that other packages take. */
export interface Live<T> {
  readonly current: T
  onChange(
    prepare: (
      next: T,
      previous: T,
      options: { signal: AbortSignal },
    ) => Promise<{ commit(): void; abort?(): void }> | { commit(): void; abort?(): void },
  ): () => void
}

export interface Explanation {
  readonly source: string
  readonly location: string
  /** `[secret]` where the value is one. */
  readonly value: unknown
}

export interface Config<T> {
  /** Deep-frozen: plain objects and lists all the way down. */
  readonly current: T
  /** 1: this version reads its sources once. */
  readonly revision: number
  /** What is suspicious but usable: unknown names, secrets on the command line. Never carries a value. */
  readonly warnings: readonly Fault[]
  /** A part of the settings in the shape that follows changes. This version never changes it, so listeners are never called. */
  live<U>(select: (value: T) => U): Live<U>
  /** Which source gave a setting, and where. Throws `ERR_CONFIG_PATH` for one that does not exist. */
  explain(path: string): Explanation
  /** Live values of all secrets, for the logger's redaction; also the password inside a secret URL. */
  secrets(): Iterable<string>
  /** Runs with one snapshot. There is only one in this version. */
  pinned<R>(run: () => R): R
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function createSnapshot<T>(value: T, origins: ReadonlyMap<string, Origin>, warnings: readonly Fault[]): Config<T> {
  const current = deepFreeze(value)
  const secrets: ReadonlySet<string> = new Set(findSecrets(current).flatMap(secretTexts))
  return {
    current,
    revision: 1,
    warnings: Object.freeze([...warnings]),
    live(select) {
      return Object.freeze({ current: select(current), onChange: () => () => {} })
    },
    explain: (path) => explain(path, current, origins),
    secrets: () => secrets.values(),
    pinned: (run) => run(),
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

function findSecrets(value: unknown): Secret<unknown>[] {
  if (Secret.isInstance(value)) return [value]
  if (Array.isArray(value) || isPlainObject(value)) return Object.values(value).flatMap(findSecrets)
  if (value instanceof Map) return [...value.values()].flatMap(findSecrets)
  return value instanceof Set ? [...value].flatMap(findSecrets) : []
}

function explain(path: string, current: unknown, origins: ReadonlyMap<string, Origin>): Explanation {
  const keys = path.split('.')
  let value = current
  for (const key of keys) {
    if (Secret.isInstance(value)) break
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) {
      const hint = meant(path, origins.keys())
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
