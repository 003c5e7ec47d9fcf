import { namesSecret } from './sql-values.ts'

type IsSecret = (name: string) => boolean

type Role = 'name' | 'statement' | 'parameters' | 'code'

/** What a member may say of those beside it. */
const roles: ReadonlyMap<string, Role> = new Map([
  // As forms, headers and validators report what a value belongs to.
  ...(['name', 'key', 'property', 'path', 'field', 'param', 'instancePath'] as const).map((key) => [key, 'name'] as const),
  ...(['query', 'sql', 'text', 'statement'] as const).map((key) => [key, 'statement'] as const),
  // As drivers and mappers call the values that a statement takes by position.
  ...(['parameters', 'params', 'values', 'bindings', 'args'] as const).map((key) => [key, 'parameters'] as const),
  ['code', 'code'],
])
const valued: ReadonlySet<string> = new Set(['value', 'input', 'received', 'actual', 'data', 'rejectedValue', 'args', 'arguments'])
const takingPart: ReadonlySet<string> = new Set([...roles.keys(), ...valued, 'detail'])
/** PostgreSQL's codes for a row that broke a rule: its detail shows the row, in whatever language the server speaks. */
const rowFailures: ReadonlySet<unknown> = new Set(['23502', '23514'])
const mostKeys = 1_000

/** Whether a member of this name says something of others, or others of it. Without two of them an object need not be looked at. */
export function mayTakePart(key: string): boolean {
  return takingPart.has(key)
}

/** Names of the members that must not show because of what another one says: `{ property: 'password', value: '…' }`. */
export function hiddenByNeighbours(source: object, keys: readonly string[], isSecret: IsSecret): ReadonlySet<string> | undefined {
  const hidden: string[] = []
  const parameters: string[] = []
  let takesSecret = false
  let hasValue: boolean | undefined
  for (let index = 0; index < keys.length && index < mostKeys; index++) {
    const key = keys[index]!
    const role = roles.get(key)
    if (role === undefined) continue
    const value = memberOf(source, key)
    if (role === 'name' && (hasValue ??= keys.some((each) => valued.has(each))) && isSecretName(value, isSecret)) hidden.push(...valued)
    if (role === 'code' && rowFailures.has(value)) hidden.push('detail')
    if (role === 'parameters') parameters.push(key)
    if (role === 'statement') takesSecret ||= typeof value === 'string' && namesSecret(value, isSecret)
  }
  if (takesSecret) hidden.push(...parameters)
  return hidden.length === 0 ? undefined : new Set(hidden)
}

function isSecretName(value: unknown, isSecret: IsSecret): boolean {
  const name: unknown = Array.isArray(value) ? value.at(-1) : value
  return typeof name === 'string' && isSecret(name)
}

function memberOf(source: object, member: string): unknown {
  try {
    return (source as Record<string, unknown>)[member]
  } catch {
    return undefined
  }
}
