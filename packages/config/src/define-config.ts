import { backgroundInterval, guarded, orAborted, settlesWithin, withDeadline } from '@platform/kernel'
import type { ZodType, infer as Infer } from 'zod'
import { type Config, createConfig } from './config.ts'
import { optionError } from './errors.ts'
import { evaluate, type Schema } from './evaluate.ts'
import { type Field, mapSchema, type SchemaMap } from './fields.ts'
import { lastKnownGood } from './last-known-good.ts'
import { type LoadOptions, resolveLoadOptions } from './options.ts'
import { readAtStart } from './start.ts'

export interface ConfigDefinition<T> {
  /** The schema that it was made of. */
  readonly schema: ZodType<T>
  /** Every setting of the schema, in its order. */
  readonly fields: readonly Field[]
  /** Reads all sources and gives one snapshot, or rejects with one `ConfigError` that lists every fault. */
  load(options: LoadOptions): Promise<Config<T>>
}

/** Declares the settings of a program. Throws `ERR_CONFIG_SCHEMA` when the schema cannot describe settings. */
export function defineConfig<S extends ZodType>(options: { schema: S }): ConfigDefinition<Infer<S>> {
  const schema: unknown = options?.schema
  if (typeof schema !== 'object' || schema === null || !('_zod' in schema)) throw optionError('schema', 'a schema of zod 4')
  const zod = options.schema as unknown as ZodType<Infer<S>>
  const map = mapSchema(zod)
  return { schema: zod, fields: map.fields, load: (loadOptions) => load(zod, map, loadOptions) }
}

async function load<T>(zod: ZodType<T>, map: SchemaMap, loadOptions: LoadOptions): Promise<Config<T>> {
  const options = resolveLoadOptions(loadOptions)
  const { signal } = loadOptions
  signal?.throwIfAborted()
  const schema: Schema<T> = { zod, map, sources: options.sources, rulesTimeoutMs: options.readTimeoutMs }
  const copy = options.lastKnownGood && lastKnownGood(options.lastKnownGood)
  const noKey = (): Error => optionError('lastKnownGood.key', `a function that answers within ${options.readTimeoutMs} ms`)
  if (copy) await withDeadline(options.readTimeoutMs, noKey, () => copy.checkKey(), signal)
  let isDirty = false
  let onChange = (): void => void (isDirty = true)
  // Before the first read: what changes while it runs is not missed.
  const ends = options.watch ? options.sources.map((source) => guarded(() => source.watch?.(() => onChange()))) : []
  try {
    const start = await orAborted(readAtStart(map, options, copy, signal), signal)
    const snapshot = await orAborted(evaluate(schema, start.readings), signal)
    const fresh = start.readings.filter(({ source }) => source.remote === true)
    // Without a copy the next start is less safe; this one is as good as before.
    if (copy && fresh.length > 0 && start.stale.length === 0) await settlesWithin(copy.save(fresh), options.readTimeoutMs)
    const { config, changed, onClose } = createConfig(schema, options, { snapshot, start, copy })
    onChange = changed
    for (const end of ends) if (end) onClose(end)
    if (options.watch && options.lastKnownGood && fresh.length > 0) {
      // A copy grows old while nothing changes: a reload that changes nothing confirms it.
      const timer = backgroundInterval(changed, Math.min(Math.max(options.lastKnownGood.maxAgeMs / 4, 1_000), 3_600_000))
      onClose(() => clearInterval(timer))
    }
    if (isDirty) changed()
    return config
  } catch (error) {
    for (const end of ends) guarded(() => end?.())
    throw error
  }
}
