import { guarded } from '@platform/kernel'
import type { core } from 'zod'
import type { Fault } from './errors.ts'
import { ConfigError, describeFault } from './errors.ts'
import { expectedOf, type Field } from './fields.ts'
import type { Merged, Origin } from './layers.ts'
import { secretTexts } from './secret.ts'
import type { Source } from './source.ts'
import { valueAt } from './tree.ts'

export interface FaultContext {
  readonly fields: readonly Field[]
  readonly sources: readonly Source[]
  readonly merged: Merged
}

/** Turns zod's issues into faults that name the place, and never repeat a message about a secret. */
export function faultsOf(issues: readonly core.$ZodIssue[], context: FaultContext): Fault[] {
  const byPath = new Map(context.fields.map((field) => [field.path.join('.'), field]))
  return issues.flatMap((issue) => {
    const keys = issue.path.map(String)
    const origin = originOf(keys, context.merged.origins)
    const place = { source: origin?.source, location: origin?.location }
    const field = fieldAt(keys, byPath)
    if (!has(context.merged.tree, keys)) {
      const absent = field ? [field] : wantedWithin(keys, context.fields)
      if (absent.length > 0) return absent.map((one) => missingFault(field ? keys : one.path, one, context.sources, place))
      return [{ path: keys.join('.'), ...place, expected: expectedBy(issue), hint: 'it is missing' }]
    }
    const expected = field && (field.secret || issue.code === 'invalid_union') ? expectedOf(field) : expectedBy(issue)
    return [{ path: keys.join('.'), ...place, expected, hint: undefined }]
  })
}

/** The setting itself, or the one whose value it is inside of. */
function fieldAt(keys: readonly string[], byPath: ReadonlyMap<string, Field>): Field | undefined {
  for (let length = keys.length; length > 0; length--) {
    const field = byPath.get(keys.slice(0, length).join('.'))
    if (field) return field
  }
  return undefined
}

type Place = Pick<Fault, 'source' | 'location'>

function missingFault(path: readonly string[], field: Field, sources: readonly Source[], place: Place): Fault {
  const ways = sources.flatMap((source) => guarded(() => source.setting?.(field)) ?? [])
  const hint = ways.length === 0 ? 'it is missing' : `it is missing: set ${ways.join(' or ')}`
  return { path: path.join('.'), ...place, expected: expectedOf(field), hint }
}

/** Of an object that is missing as a whole nobody can set the object: these are what its reader has to set. */
function wantedWithin(keys: readonly string[], fields: readonly Field[]): readonly Field[] {
  const within = fields.filter(({ path }) => path.length > keys.length && startsWith(path, keys))
  const required = within.filter((field) => field.required)
  if (required.length > 0) return required
  // Inside something optional nothing is required by itself, only with its neighbours.
  const withoutDefault = within.filter((field) => field.defaultValue === undefined)
  return withoutDefault.length > 0 ? withoutDefault : within
}

function startsWith(path: readonly string[], start: readonly string[]): boolean {
  return start.every((key, index) => path[index] === key)
}

function expectedBy(issue: core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return issue.message.replace(/^Invalid input: expected /, '')
  if (issue.code === 'unrecognized_keys') return `no unknown keys (${issue.keys.join(', ')})`
  return issue.message.replace(/^Invalid (input|option): expected /, '')
}

export function originOf(keys: readonly string[], origins: ReadonlyMap<string, Origin>): Origin | undefined {
  for (let length = keys.length; length > 0; length--) {
    const origin = origins.get(keys.slice(0, length).join('.'))
    if (origin) return origin
  }
  return undefined
}

function has(tree: unknown, keys: readonly string[]): boolean {
  let value = tree
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return false
    value = (value as Record<string, unknown>)[key]
  }
  return value !== undefined
}

/** The second line of defence: a rule of the schema's author over several settings may quote what it saw. */
export function invalid(
  code: 'ERR_CONFIG_INVALID' | 'ERR_CONFIG_UNREACHABLE',
  faults: readonly Fault[],
  context: FaultContext,
  cause: unknown,
): ConfigError {
  const secretFields = context.fields.filter((field) => field.secret)
  const texts = [...new Set(secretFields.flatMap((field) => secretTexts(valueAt(context.merged.tree, field.path))))]
  const safe = faults.map((fault) => ({ ...fault, expected: withoutTexts(fault.expected, texts) }))
  const title = safe.length === 1 ? '1 setting is not usable:' : `${safe.length} settings are not usable:`
  const message = [title, ...safe.map((fault) => `  ${describeFault(fault)}`)].join('\n')
  return new ConfigError(code, message, { faults: safe, cause })
}

function withoutTexts(message: string, texts: readonly string[]): string {
  return texts.reduce((text, secret) => (secret.length < 3 ? text : text.replaceAll(secret, '[secret]')), message)
}
