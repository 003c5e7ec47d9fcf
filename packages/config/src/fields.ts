import type { ZodType } from 'zod'
import { ConfigError } from './errors.ts'
import { variableName } from './names.ts'
import { isSecretTransform } from './secret.ts'
import { accepts, coercesAnywhere } from './strict-coercion.ts'

/** How the text of a variable, an argument or a file becomes a value. */
export type Kind =
  | { readonly type: 'text' | 'number' | 'bigint' | 'boolean' | 'object' }
  | { readonly type: 'one-of'; readonly values: readonly unknown[] }
  | { readonly type: 'list'; readonly item: Kind }
  | { readonly type: 'any-of'; readonly options: readonly { kind: Kind; accepts(value: unknown): boolean }[] }

/** One setting of the schema. */
export interface Field {
  readonly path: readonly string[]
  readonly kind: Kind
  /** It is one, or a list or record that holds one. */
  readonly secret: boolean
  /** Neither optional nor with a default, and neither is an object around it. */
  readonly required: boolean
  /** Absent when there is none or when it must not show. */
  readonly defaultValue?: unknown
  readonly description?: string | undefined
  /** What a change does, from `.meta({ reload })`. */
  readonly reload: ReloadClass
  /** More names of variables, as they stand, from `.meta({ env })`. */
  readonly aliases: readonly string[]
  /** More names on the command line, from `.meta({ arg })`: `listen` is `--listen`. */
  readonly argAliases: readonly string[]
}

/**
 * - `live`: everyone sees the new value from the next snapshot on. The default.
 * - `drain`: as `live`, and work that began with the old value should be led to its end (a pool, a listener); named in the event.
 * - `restart`: the old value stays until the next start; the change is reported.
 */
export type ReloadClass = 'live' | 'drain' | 'restart'

/** The parts of a zod schema that are read here; zod's own types name each class apart. */
interface Definition {
  type: string
  innerType?: ZodType
  in?: ZodType
  out?: ZodType
  transform?: unknown
  shape?: Record<string, ZodType>
  catchall?: ZodType
  getter?: () => ZodType
  element?: ZodType
  valueType?: ZodType
  items?: readonly ZodType[]
  options?: readonly ZodType[]
  values?: readonly unknown[]
  entries?: Record<string, unknown>
  defaultValue?: unknown
  left?: ZodType
  right?: ZodType
}

interface Unwrapped {
  schema: ZodType
  definition: Definition
  secret: boolean
  required: boolean
  hasDefault: boolean
  defaultValue: unknown
  description: string | undefined
  reload: ReloadClass | undefined
  aliases: readonly string[] | undefined
  argAliases: readonly string[] | undefined
}

const wrappers = new Set(['optional', 'nullable', 'readonly', 'default', 'prefault', 'catch', 'nonoptional', 'success'])
const definitionOf = (schema: ZodType) => schema._zod.def as unknown as Definition

/** Looks through optional, default, lazy, transformations and secrets to what a user writes down. */
function unwrap(schema: ZodType): Unwrapped {
  const found: Unwrapped = {
    schema,
    definition: definitionOf(schema),
    secret: false,
    required: true,
    hasDefault: false,
    defaultValue: undefined,
    description: undefined,
    reload: undefined,
    aliases: undefined,
    argAliases: undefined,
  }
  for (;;) {
    const { definition } = found
    const meta = found.schema.meta?.()
    found.description ??= found.schema.description
    found.reload ??= reloadOf(meta?.['reload'])
    found.aliases ??= namesOf('env', meta?.['env'], /^[A-Z][A-Z0-9_]*$/)
    found.argAliases ??= namesOf('arg', meta?.['arg'], /^[A-Za-z][\w.-]*$/)
    let inner: ZodType | undefined
    if (wrappers.has(definition.type)) {
      inner = definition.innerType
      if (['optional', 'default', 'prefault', 'catch'].includes(definition.type)) found.required = false
      if (['default', 'prefault'].includes(definition.type) && !found.hasDefault) {
        found.hasDefault = true
        found.defaultValue = definition.defaultValue
      }
    } else if (definition.type === 'lazy') {
      inner = definition.getter?.()
    } else if (definition.type === 'pipe' && definition.in && definition.out) {
      if (isSecretTransform(definitionOf(definition.out).transform)) found.secret = true
      if (definitionOf(definition.in).type !== 'transform') inner = definition.in
    }
    if (!inner) return found
    found.schema = inner
    found.definition = definitionOf(inner)
  }
}

function reloadOf(value: unknown): ReloadClass | undefined {
  if (value === undefined || value === 'live' || value === 'drain' || value === 'restart') return value
  throw new ConfigError('ERR_CONFIG_SCHEMA', '.meta({ reload }) must be live, drain or restart')
}

function namesOf(key: string, value: unknown, pattern: RegExp): readonly string[] | undefined {
  if (value === undefined) return undefined
  const names: unknown[] = Array.isArray(value) ? value : [value]
  if (names.every((name) => typeof name === 'string' && pattern.test(name))) return names as string[]
  throw new ConfigError(
    'ERR_CONFIG_SCHEMA',
    `.meta({ ${key} }) must be a name such as ${key === 'env' ? 'DB_URL' : 'db-url'}, or a list of names`,
  )
}

export interface SchemaMap {
  readonly fields: readonly Field[]
  /** Objects whose keys are all known, by dotted path (`''` is the root), for finding misspelt ones. */
  readonly closed: ReadonlyMap<string, ReadonlySet<string>>
  /** Something in it is a `z.coerce`. */
  readonly coerces: boolean
}

/** Lists every setting of a schema. Throws `ERR_CONFIG_SCHEMA` when it is not an object or two settings would share a name. */
export function mapSchema(schema: ZodType): SchemaMap {
  const fields: Field[] = []
  const closed = new Map<string, ReadonlySet<string>>()
  const visit = (
    node: ZodType,
    path: readonly string[],
    around: { required: boolean; defaults: unknown; seen: readonly ZodType[]; reload: ReloadClass },
  ): void => {
    const found = unwrap(node)
    const { definition } = found
    const required = around.required && found.required
    const defaults = found.hasDefault ? found.defaultValue : around.defaults
    const seen = [...around.seen, found.schema]
    const reload = found.reload ?? around.reload
    const isContainer = !found.secret && !around.seen.includes(found.schema)
    if (isContainer && definition.type === 'object' && definition.shape) {
      if (!definition.catchall) closed.set(path.join('.'), new Set(Object.keys(definition.shape)))
      for (const [key, child] of Object.entries(definition.shape))
        visit(child, [...path, key], { required, defaults: memberOf(defaults, key), seen, reload })
    } else if (isContainer && definition.type === 'intersection' && definition.left && definition.right) {
      visit(definition.left, path, { required, defaults, seen, reload })
      visit(definition.right, path, { required, defaults, seen, reload })
      closed.delete(path.join('.'))
    } else if (path.length === 0) {
      throw new ConfigError('ERR_CONFIG_SCHEMA', 'the schema of the settings must be an object: z.object({ … })')
    } else {
      const secret = holdsSecretIn(found, [])
      const hidden = secret || defaults === undefined
      const { description, aliases = [], argAliases = [] } = found
      const field = { path, kind: kindOf(definition), secret, required, description, reload, aliases, argAliases }
      fields.push(hidden ? field : { ...field, defaultValue: defaults })
    }
  }
  visit(schema, [], { required: true, defaults: undefined, seen: [], reload: 'live' })
  refuseSharedNames(fields)
  return { fields, closed, coerces: coercesAnywhere(schema) }
}

/** It is a secret, or something inside of it is. */
export function isSecretSchema(schema: ZodType): boolean {
  return holdsSecret(schema, [])
}

const holdsSecret = (schema: ZodType, seen: readonly ZodType[]): boolean => holdsSecretIn(unwrap(schema), seen)

/** A list or a record of secrets is as secret as they are. */
function holdsSecretIn({ schema, secret, definition }: Unwrapped, seen: readonly ZodType[]): boolean {
  const { element, valueType, left, right, options = [], items = [], shape = {} } = definition
  if (secret || seen.includes(schema)) return secret
  const inner = [element, valueType, left, right, ...options, ...items, ...Object.values(shape)]
  return inner.some((child) => child !== undefined && holdsSecret(child, [...seen, schema]))
}

function memberOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined
}

const kindOfSchema = (schema: ZodType): Kind => kindOf(unwrap(schema).definition)

/** Of what `unwrap` found. */
function kindOf(definition: Definition): Kind {
  switch (definition.type) {
    case 'number':
    case 'bigint':
    case 'boolean':
      return { type: definition.type }
    case 'enum':
      // A TypeScript enum of numbers also maps back from number to name.
      return {
        type: 'one-of',
        values: Object.entries(definition.entries ?? {}).flatMap(([key, value]) =>
          /^\d+$/.test(key) && typeof value === 'string' && definition.entries?.[value] === Number(key) ? [] : [value],
        ),
      }
    case 'literal':
      return { type: 'one-of', values: definition.values ?? [] }
    case 'array':
      return { type: 'list', item: definition.element ? kindOfSchema(definition.element) : { type: 'text' } }
    case 'tuple':
      return { type: 'list', item: { type: 'text' } }
    case 'union':
      return {
        type: 'any-of',
        options: (definition.options ?? []).map((option) => ({ kind: kindOfSchema(option), accepts: accepts(option) })),
      }
    case 'object':
    case 'record':
    case 'intersection':
      return { type: 'object' }
    default:
      return { type: 'text' }
  }
}

function refuseSharedNames(fields: readonly Field[]): void {
  const owners = new Map<string, string>()
  for (const field of fields) {
    const names = [...new Set([variableName('', field.path), ...field.aliases])]
    for (const taken of field.secret ? names.flatMap((name) => [name, `${name}_FILE`]) : names) {
      const owner = owners.get(taken)
      const path = field.path.join('.')
      if (owner !== undefined)
        throw new ConfigError('ERR_CONFIG_SCHEMA', `settings "${owner}" and "${path}" would both be the variable ${taken}: rename one`)
      owners.set(taken, path)
    }
  }
}

/** What a user has to write, in words; the allowed values of a secret stay out. */
export function expectedOf(field: Field): string {
  return describeKind(field.kind, field.secret)
}

function describeKind(kind: Kind, secret: boolean): string {
  switch (kind.type) {
    case 'text':
      return 'a text'
    case 'number':
      return 'a decimal number'
    case 'bigint':
      return 'a whole number'
    case 'boolean':
      return 'true or false'
    case 'object':
      return 'an object'
    case 'one-of':
      return secret ? 'one of the allowed values' : `one of ${kind.values.map(String).join(', ')}`
    case 'list':
      return 'a list'
    case 'any-of':
      return [...new Set(kind.options.map((option) => describeKind(option.kind, secret)))].join(' or ')
  }
}
