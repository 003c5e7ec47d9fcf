import { withDeadline } from '@platform/kernel'
import type { ZodSafeParseResult, ZodType } from 'zod'
import { ConfigError, type Fault } from './errors.ts'
import { type FaultContext, faultsOf, invalid, originOf } from './faults.ts'
import type { SchemaMap } from './fields.ts'
import { factOf, foreignError } from './foreign-error.ts'
import { mergeLayers, type Merged, type Origin } from './layers.ts'
import type { Reading } from './reading.ts'
import { Secret, secretTexts } from './secret.ts'
import type { Source, Tree } from './source.ts'
import { coerceStrictly } from './strict-coercion.ts'
import { deepFreeze, isPlainObject } from './tree.ts'

/** Settings at one moment. Never changes. */
export interface Snapshot<T> {
  readonly value: T
  readonly tree: Tree
  readonly origins: ReadonlyMap<string, Origin>
  readonly warnings: readonly Fault[]
  /** Texts of the secrets in it. */
  readonly secrets: ReadonlySet<string>
}

export interface Schema<T> {
  readonly zod: ZodType<T>
  readonly map: SchemaMap
  readonly sources: readonly Source[]
  /** How long its rules may take: they may be asynchronous, and are the author's. */
  readonly rulesTimeoutMs: number
}

/** Merges what was read and holds it against the schema. Rejects with one `ConfigError` that lists every fault. */
export async function evaluate<T>(schema: Schema<T>, readings: readonly Reading[]): Promise<Snapshot<T>> {
  const merged = mergeLayers(readings.map((reading) => reading.layer))
  const context = { fields: schema.map.fields, sources: schema.sources, merged }
  const faults = readings.flatMap((reading) => reading.faults)
  if (schema.map.coerces) {
    for (const { path, expected } of coerceStrictly(schema.zod, merged.tree as Record<string, unknown>)) {
      const origin = originOf(path, merged.origins)
      faults.push({ path: path.join('.'), source: origin?.source, location: origin?.location, expected })
    }
  }
  const result = await checked(schema, merged, context)
  if (!result.success) {
    // A setting that could not be read must not be reported as missing too.
    const covered = coverage(faults)
    // And when a source gave nothing, what is missing may be in it.
    const isPartial = readings.some(({ failure }) => failure !== undefined)
    const issues = faultsOf(result.error.issues, context)
    faults.push(...issues.filter((fault) => !covered(fault.path) && !(isPartial && fault.location === undefined)))
  }
  if (faults.length > 0 || !result.success) {
    const failed = readings.filter((reading) => reading.failure !== undefined)
    const code = failed.some(({ source }) => source.remote === true) ? 'ERR_CONFIG_UNREACHABLE' : 'ERR_CONFIG_INVALID'
    const cause = failed[0]?.failure
    throw invalid(code, faults, context, cause && foreignError(cause.cause))
  }
  return snapshotOf(
    result.data,
    merged,
    readings.flatMap((reading) => reading.warnings),
  )
}

/** The same for a tree that was put together from two snapshots; `undefined` when it does not fit. */
export async function evaluateTree<T>(schema: Schema<T>, merged: Merged, warnings: readonly Fault[]): Promise<Snapshot<T> | undefined> {
  const result = await checked(schema, merged, { fields: schema.map.fields, sources: schema.sources, merged })
  return result.success ? snapshotOf(result.data, merged, warnings) : undefined
}

/** A rule that throws, rejects or never answers is a fault like any other. */
async function checked<T>({ zod, rulesTimeoutMs }: Schema<T>, { tree }: Merged, context: FaultContext): Promise<ZodSafeParseResult<T>> {
  const late = (): Error => new ConfigError('ERR_CONFIG_INVALID', `no answer within ${rulesTimeoutMs} ms`)
  try {
    return await withDeadline(rulesTimeoutMs, late, () => zod.safeParseAsync(tree))
  } catch (cause) {
    const hint = ConfigError.isInstance(cause) ? cause.message : `one threw${factOf(cause)}; see the cause of this error`
    const fault = { path: '', source: undefined, location: undefined, expected: 'rules of the schema that answer', hint }
    throw invalid('ERR_CONFIG_INVALID', [fault], context, foreignError(cause))
  }
}

/** Whether a path, one around it or one inside of it was reported. */
function coverage(faults: readonly Fault[]): (path: string) => boolean {
  const reported = new Set<string>()
  const around = new Set<string>()
  for (const { path } of faults) {
    if (path === '') continue
    reported.add(path)
    for (let dot = path.lastIndexOf('.'); dot > 0; dot = path.lastIndexOf('.', dot - 1)) around.add(path.slice(0, dot))
  }
  return (path) => {
    if (reported.has(path) || around.has(path)) return true
    for (let dot = path.lastIndexOf('.'); dot > 0; dot = path.lastIndexOf('.', dot - 1)) if (reported.has(path.slice(0, dot))) return true
    return false
  }
}

function snapshotOf<T>(parsed: T, { tree, origins }: Merged, warnings: readonly Fault[]): Snapshot<T> {
  const value = deepFreeze(parsed)
  return {
    value,
    tree,
    origins,
    warnings: Object.freeze([...warnings]),
    secrets: new Set(findSecrets(value).flatMap(secretTexts)),
  }
}

function findSecrets(value: unknown, found: Secret<unknown>[] = []): Secret<unknown>[] {
  if (typeof value !== 'object' || value === null) return found
  if (Secret.isInstance(value)) found.push(value)
  else if (Array.isArray(value) || value instanceof Set) for (const item of value) findSecrets(item, found)
  else if (value instanceof Map) for (const item of value.values()) findSecrets(item, found)
  else if (isPlainObject(value)) for (const key of Object.keys(value)) findSecrets(value[key], found)
  return found
}
