import convict from 'convict'
import { type ZodType, z } from 'zod'
import { ConfigError } from './errors.ts'
import { secret } from './secret.ts'
import { bareObject } from './tree.ts'

/** `convict.Schema`, known by shape. */
export type ConvictSchemaLike = Readonly<Record<string, unknown>>

/** A setting as convict describes it. */
interface ConvictLeaf {
  readonly default: unknown
  readonly doc?: string
  readonly format?: unknown
  readonly env?: string
  readonly arg?: string
  readonly sensitive?: boolean
  readonly nullable?: boolean
}

/**
 * A schema of convict as one of zod: `defineConfig({ schema: fromConvict(schema) })`. `format`, also your own from `convict.addFormat`, is
 * checked by convict; texts are converted strictly by its type before. `default: null` without `nullable` is a setting that must be given.
 * `env` and `arg` are further names beside those that the path gives; `sensitive` is a secret. Throws `ERR_CONFIG_SCHEMA` for what cannot be
 * taken over.
 */
export function fromConvict<T = Record<string, unknown>>(schema: ConvictSchemaLike): ZodType<T> {
  return objectOf(schema, []) as ZodType<T>
}

function objectOf(node: Readonly<Record<string, unknown>>, path: readonly string[]): ZodType {
  const shape = bareObject() as Record<string, ZodType>
  let hasRequired = false
  for (const [key, child] of Object.entries(node)) {
    const at = [...path, key]
    if (isObject(child) && Object.keys(child).length > 0 && !('default' in child)) {
      const inner = objectOf(child, at)
      shape[key] = inner
      hasRequired ||= !inner.safeParse({}).success
    } else {
      // A bare value is a default without anything else.
      const leaf = (isObject(child) && 'default' in child ? child : { default: child }) as unknown as ConvictLeaf
      hasRequired ||= leaf.default === null && leaf.nullable !== true
      shape[key] = leafOf(leaf, at)
    }
  }
  const object = z.object({ ...shape })
  return path.length === 0 || hasRequired ? object : object.prefault({})
}

function leafOf(leaf: ConvictLeaf, path: readonly string[]): ZodType {
  const { doc, env, arg, nullable = false, sensitive = false, default: value } = leaf
  const expected = `what the format ${nameOf(leaf.format ?? typeof value)} takes`
  const check = checkOf(leaf, path)
  const typed = baseOf(leaf).transform((given, context) => {
    const outcome = check(given)
    if (outcome.ok) return outcome.value
    context.addIssue({ code: 'custom', message: expected })
    return z.NEVER
  }) as ZodType
  let schema = sensitive ? (secret(typed) as ZodType) : typed
  if (nullable) schema = schema.nullable()
  if (value === undefined) schema = schema.optional()
  else if (value !== null || nullable) schema = schema.prefault(value as never)
  const meta = { ...(env === undefined ? {} : { env }), ...(arg === undefined ? {} : { arg }) }
  if (Object.keys(meta).length > 0) schema = schema.meta(meta)
  return doc === undefined ? schema : schema.describe(doc)
}

const wholeNumbers = ['port', 'int', 'integer', 'nat', 'windows_named_pipe']

/** What the text of a variable is converted to before convict sees it. */
function baseOf({ format, default: value }: ConvictLeaf): ZodType {
  const type = format ?? (Array.isArray(value) ? Array : typeof value)
  if (type === Number || type === 'Number' || type === 'number' || wholeNumbers.includes(type as string)) return z.number()
  if (type === Boolean || type === 'Boolean' || type === 'boolean') return z.boolean()
  if (Array.isArray(type)) return z.literal(type as [string])
  if (type === Array || type === 'Array') return z.array(z.unknown())
  if (type === Object || type === 'Object' || type === 'object') return z.record(z.string(), z.unknown())
  return z.unknown()
}

type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false }

/** A convict instance of one setting: its formats, and their own conversions, are convict's affair. */
function checkOf({ format, default: value }: ConvictLeaf, path: readonly string[]): (given: unknown) => Outcome {
  const make = (): convict.Config<{ value: unknown }> =>
    convict<{ value: unknown }>(
      { value: { default: value ?? null, ...(format === undefined ? {} : { format: format as never }) } },
      { env: {}, args: [] },
    )
  try {
    make()
  } catch {
    throw new ConfigError('ERR_CONFIG_SCHEMA', `"${path.join('.')}": convict does not know its format ${nameOf(format)}`)
  }
  return (given) => {
    try {
      const probe = make()
      probe.set('value', given)
      probe.validate()
      return { ok: true, value: probe.get('value') }
    } catch {
      return { ok: false }
    }
  }
}

function nameOf(format: unknown): string {
  if (Array.isArray(format)) return format.map(String).join(', ')
  return typeof format === 'function' ? format.name || 'of a function' : String(format)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
