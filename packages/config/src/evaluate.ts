import type { ZodType } from 'zod'
import type { Fault } from './errors.ts'
import { faultsOf, invalid } from './faults.ts'
import type { SchemaMap } from './fields.ts'
import { mergeLayers, type Merged, type Origin } from './layers.ts'
import type { Reading } from './reading.ts'
import { Secret, secretTexts } from './secret.ts'
import type { Source, Tree } from './source.ts'
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
}

/** Merges what was read and holds it against the schema. Rejects with one `ConfigError` that lists every fault. */
export async function evaluate<T>(schema: Schema<T>, readings: readonly Reading[]): Promise<Snapshot<T>> {
  const merged = mergeLayers(readings.map((reading) => reading.layer))
  const context = { fields: schema.map.fields, sources: schema.sources, merged }
  const result = await schema.zod.safeParseAsync(merged.tree)
  const faults = readings.flatMap((reading) => reading.faults)
  if (!result.success) {
    // A setting that could not be read must not be reported as missing too.
    const reported = faults.map((fault) => fault.path)
    const covered = (path: string) =>
      reported.some((other) => other !== '' && (path === other || path.startsWith(`${other}.`) || other.startsWith(`${path}.`)))
    // And when a source gave nothing, what is missing may be in it.
    const isPartial = readings.some(({ failure }) => failure !== undefined)
    const issues = faultsOf(result.error.issues, context)
    faults.push(...issues.filter((fault) => !covered(fault.path) && !(isPartial && fault.location === undefined)))
  }
  if (faults.length > 0 || !result.success) {
    const failed = readings.filter((reading) => reading.failure !== undefined)
    const code = failed.some(({ source }) => source.remote === true) ? 'ERR_CONFIG_UNREACHABLE' : 'ERR_CONFIG_INVALID'
    throw invalid(code, faults, context, failed[0]?.failure?.cause)
  }
  return snapshotOf(
    result.data,
    merged,
    readings.flatMap((reading) => reading.warnings),
  )
}

/** The same for a tree that was put together from two snapshots; `undefined` when it does not fit. */
export async function evaluateTree<T>(schema: Schema<T>, merged: Merged, warnings: readonly Fault[]): Promise<Snapshot<T> | undefined> {
  const result = await schema.zod.safeParseAsync(merged.tree)
  return result.success ? snapshotOf(result.data, merged, warnings) : undefined
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
