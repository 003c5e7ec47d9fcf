import type { ZodType } from 'zod'
import { coerce } from './coerce.ts'
import type { Kind } from './fields.ts'
import { copyOf, isPlainObject } from './tree.ts'

interface Definition {
  readonly type: string
  readonly coerce?: boolean
  readonly innerType?: ZodType
  readonly in?: ZodType
  readonly out?: ZodType
  readonly options?: readonly ZodType[]
  readonly getter?: () => ZodType
  readonly shape?: Readonly<Record<string, ZodType>>
  readonly valueType?: ZodType
  readonly element?: ZodType
  readonly items?: readonly ZodType[]
  readonly left?: ZodType
  readonly right?: ZodType
}

const definitionOf = (schema: ZodType): Definition => schema._zod.def as unknown as Definition

export interface CoercionFault {
  readonly path: readonly string[]
  readonly expected: string
}

/**
 * `z.coerce` asks JavaScript, for which "false" is true, "" is 0 and "0x10" is 16. A text is converted here first, as one from a variable is,
 * wherever in the tree a schema coerces; what no text can stand for (`null`, a list) is a fault. Replaces in the tree, which is the merge's own.
 */
export function coerceStrictly(schema: ZodType, tree: Record<string, unknown>): CoercionFault[] {
  return walk(schema, tree, [], () => {})
}

function walk(schema: ZodType, tree: unknown, from: readonly string[], replace: (value: unknown) => void): CoercionFault[] {
  const faults: CoercionFault[] = []

  const visit = (node: ZodType, value: unknown, path: readonly string[], put: (value: unknown) => void): void => {
    if (value === undefined) return
    const definition = definitionOf(node)
    const inner = definition.innerType ?? definition.in ?? (definition.type === 'lazy' ? definition.getter?.() : undefined)
    // A text that goes through as it is, `z.string().pipe(z.coerce.number())`: looked at, not replaced.
    if (definition.out && inner && definitionOf(inner).type === 'string') visit(definition.out, value, path, () => {})
    if (inner) return visit(inner, value, path, put)
    if (definition.options) return choose(definition.options, value, path, put)
    if (definition.coerce === true) return convert(definition.type, value, path, put)
    if (definition.left && definition.right) {
      visit(definition.left, value, path, put)
      visit(definition.right, value, path, put)
      return
    }
    for (const [key, child, held, put_] of membersOf(definition, value)) visit(child, held, [...path, key], put_)
  }

  const convert = (type: string, value: unknown, path: readonly string[], put: (value: unknown) => void): void => {
    const kind: Kind | undefined = type === 'number' || type === 'boolean' || type === 'bigint' ? { type } : undefined
    if (kind && typeof value === 'string') {
      const coerced = coerce(value, kind)
      if (coerced.ok) put(coerced.value)
      else faults.push({ path, expected: coerced.expected })
    } else if (!stands(type, value)) faults.push({ path, expected: expectedOf(type) })
  }

  /** Of a union the first option that takes the value when it is converted strictly, as zod takes the first that takes it at all. */
  const choose = (options: readonly ZodType[], value: unknown, path: readonly string[], put: (value: unknown) => void): void => {
    let refused: readonly CoercionFault[] = []
    for (const option of options) {
      let tried = copyOf(value)
      const found = walk(option, tried, path, (next) => (tried = next))
      if (found.length === 0 && accepts(option)(tried)) return put(tried)
      if (refused.length === 0) refused = found
    }
    faults.push(...refused)
  }

  visit(schema, tree, from, replace)
  return faults
}

/** Whether the schema takes a value, as far as that can be said at once. */
export function accepts(schema: ZodType): (value: unknown) => boolean {
  return (value) => {
    try {
      return schema.safeParse(value).success
    } catch {
      return true // an asynchronous check: the schema itself decides later
    }
  }
}

type Member = readonly [key: string, schema: ZodType, value: unknown, put: (value: unknown) => void]

function membersOf({ shape, valueType, element, items }: Definition, value: unknown): Member[] {
  if (Array.isArray(value)) {
    return value.flatMap((item: unknown, index): Member[] => {
      const schema = items?.[index] ?? element
      return schema ? [[String(index), schema, item, (next) => (value[index] = next)]] : []
    })
  }
  if (!isPlainObject(value)) return []
  return Object.keys(value).flatMap((key): Member[] => {
    const schema = shape ? (Object.hasOwn(shape, key) ? shape[key] : undefined) : valueType
    return schema ? [[key, schema, value[key], (next) => (value[key] = next)]] : []
  })
}

function stands(type: string, value: unknown): boolean {
  const is = typeof value
  if (type === 'string') return is === 'string' || is === 'number' || is === 'boolean' || is === 'bigint'
  // An integer that is not exact, or would not be as a number, is another one than was written down.
  if (type === 'bigint') return is === 'bigint' || (is === 'number' && (!Number.isInteger(value) || Number.isSafeInteger(value)))
  if (type === 'number') return is === 'number' || (is === 'bigint' && Number.isSafeInteger(Number(value)))
  if (type === 'boolean') return is === 'boolean'
  return value !== null && is !== 'boolean'
}

function expectedOf(type: string): string {
  if (type === 'string') return 'a text'
  if (type === 'boolean') return 'true or false'
  return type === 'date' ? 'a date' : 'a decimal number'
}

/** Whether anything in the schema coerces: most do not, and are not walked at each reload. */
export function coercesAnywhere(schema: ZodType, seen: Set<ZodType> = new Set()): boolean {
  if (seen.has(schema)) return false
  seen.add(schema)
  const definition = definitionOf(schema)
  if (definition.coerce === true) return true
  const { innerType, in: from, out, shape = {}, valueType, element, items = [], options = [], left, right } = definition
  const getter = definition.type === 'lazy' ? definition.getter?.() : undefined
  const inner = [innerType, from, out, valueType, element, left, right, getter, ...items, ...options, ...Object.values(shape)]
  return inner.some((child) => child !== undefined && coercesAnywhere(child, seen))
}
