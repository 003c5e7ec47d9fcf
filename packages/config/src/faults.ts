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
  return issues.map((issue) => {
    const keys = issue.path.map(String)
    const path = keys.join('.')
    const field = context.fields.find((candidate) => candidate.path.every((key, index) => keys[index] === key))
    const origin = originOf(keys, context.merged.origins)
    const missing = !has(context.merged.tree, keys)
    const expected = field && (field.secret || missing || issue.code === 'invalid_union') ? expectedOf(field) : expectedBy(issue)
    return {
      path,
      source: origin?.source,
      location: origin?.location,
      expected,
      hint: missing ? missingHint(field, context.sources) : undefined,
    }
  })
}

function expectedBy(issue: core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return issue.message.replace(/^Invalid input: expected /, '')
  if (issue.code === 'unrecognized_keys') return `no unknown keys (${issue.keys.join(', ')})`
  return issue.message.replace(/^Invalid (input|option): expected /, '')
}

function missingHint(field: Field | undefined, sources: readonly Source[]): string {
  const ways = field === undefined ? [] : sources.flatMap((source) => source.setting?.(field) ?? [])
  return ways.length === 0 ? 'it is missing' : `it is missing: set ${ways.join(' or ')}`
}

function originOf(keys: readonly string[], origins: ReadonlyMap<string, Origin>): Origin | undefined {
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
