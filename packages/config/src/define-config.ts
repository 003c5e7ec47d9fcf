import type { ZodType, infer as Infer } from 'zod'
import { type Fault, optionError } from './errors.ts'
import { faultsOf, invalid } from './faults.ts'
import { type Field, mapSchema, type SchemaMap } from './fields.ts'
import { type Layer, mergeLayers } from './layers.ts'
import { meant } from './names.ts'
import { type Config, createSnapshot } from './snapshot.ts'
import type { Report, Source, Tree } from './source.ts'
import { inspectTree, isPlainObject } from './tree.ts'

export interface LoadOptions {
  /** From weakest to strongest: the later one wins. Objects merge by key, lists are replaced. */
  sources: readonly Source[]
  signal?: AbortSignal | undefined
}

export interface ConfigDefinition<T> {
  /** Every setting of the schema, in its order. */
  readonly fields: readonly Field[]
  /** Reads all sources and gives one snapshot, or rejects with one `ERR_CONFIG_INVALID` that lists every fault. */
  load(options: LoadOptions): Promise<Config<T>>
}

/** Declares the settings of a program. Throws `ERR_CONFIG_SCHEMA` when the schema cannot describe settings. */
export function defineConfig<S extends ZodType>(options: { schema: S }): ConfigDefinition<Infer<S>> {
  const schema: unknown = options?.schema
  if (typeof schema !== 'object' || schema === null || !('_zod' in schema)) throw optionError('schema', 'a schema of zod 4')
  const map = mapSchema(options.schema)
  return { fields: map.fields, load: (loadOptions) => load(options.schema, map, loadOptions) }
}

interface Reading {
  readonly source: Source
  readonly layer: Layer
  readonly faults: readonly Fault[]
  readonly warnings: readonly Fault[]
  readonly cause?: unknown
}

async function load<S extends ZodType>(schema: S, map: SchemaMap, { sources, signal }: LoadOptions): Promise<Config<Infer<S>>> {
  if (!Array.isArray(sources) || !sources.every(isSource)) throw optionError('sources', 'a list of sources: [file(…), env(…)]')
  signal?.throwIfAborted()
  const readings = await orAborted(Promise.all(sources.map((source: Source) => readSource(source, map, signal))), signal)
  const merged = mergeLayers(readings.map((reading) => reading.layer))
  const context = { fields: map.fields, sources, merged }
  const result = await orAborted(schema.safeParseAsync(merged.tree), signal)
  const faults = readings.flatMap((reading) => reading.faults)
  if (!result.success) {
    // A setting that could not be read must not be reported as missing too.
    const reported = faults.map((fault) => fault.path)
    const covered = (path: string) => reported.some((other) => other !== '' && (path === other || path.startsWith(`${other}.`)))
    faults.push(...faultsOf(result.error.issues, context).filter((fault) => !covered(fault.path)))
  }
  if (faults.length > 0 || !result.success) throw invalid(faults, context, readings.find((reading) => reading.cause !== undefined)?.cause)
  return createSnapshot(
    result.data,
    merged.origins,
    readings.flatMap((reading) => reading.warnings),
  )
}

function isSource(source: unknown): source is Source {
  return (
    typeof source === 'object' &&
    source !== null &&
    typeof (source as Source).name === 'string' &&
    typeof (source as Source).read === 'function'
  )
}

async function readSource(source: Source, map: SchemaMap, signal: AbortSignal | undefined): Promise<Reading> {
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const locations = new Map<string, string>()
  const report: Report = {
    at: (path, location) => locations.set(path.join('.'), location),
    fault: (fault) => faults.push({ ...fault, source: source.name }),
    warn: (fault) => warnings.push({ ...fault, source: source.name }),
  }
  let tree: Tree = {}
  let cause: unknown
  try {
    const given: unknown = await source.read({ signal, fields: map.fields, report })
    if (isPlainObject(given)) tree = given
    else report.fault({ path: '', expected: 'a plain object from this source' })
  } catch (error) {
    signal?.throwIfAborted()
    cause = error
    // Its message is not repeated: it may quote what was read.
    report.fault({ path: '', expected: 'a source that can be read', hint: 'see the cause of this error' })
  }
  const { leaves, rejected } = inspectTree(tree)
  const locationOf = (path: readonly string[]) => {
    for (let length = path.length; length > 0; length--) {
      const location = locations.get(path.slice(0, length).join('.'))
      if (location !== undefined) return location
    }
    return source.name
  }
  for (const { path, expected } of rejected) report.fault({ path: path.join('.'), location: locationOf(path), expected })
  for (const { path } of leaves) {
    const unknown = unknownKey(path, map)
    if (unknown) report.warn({ path: unknown.path, location: locationOf(path), expected: 'the name of a setting', hint: unknown.hint })
  }
  const origin = (path: readonly string[]) => ({ source: source.name, location: locationOf(path) })
  return { source, layer: { leaves, origin }, faults, warnings, ...(cause === undefined ? {} : { cause }) }
}

/** The first key on the way that its object does not have. */
function unknownKey(path: readonly string[], { closed }: SchemaMap): { path: string; hint: string | undefined } | undefined {
  for (let depth = 0; depth < path.length; depth++) {
    const parent = path.slice(0, depth)
    const known = closed.get(parent.join('.'))
    if (known === undefined) return undefined
    const key = path[depth] ?? ''
    if (!known.has(key)) return { path: [...parent, key].join('.'), hint: meant(key, known) }
  }
  return undefined
}

/** An aborted caller leaves at once with its own reason. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason as Error)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
