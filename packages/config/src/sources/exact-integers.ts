import type { Kind } from '../fields.ts'
import type { ReadOptions } from '../source.ts'
import { isPlainObject } from '../tree.ts'

/**
 * Integers that a file's parser could not give as numbers, because there would be another one in their place, come as bigints. Those stay where
 * the setting takes one, or a text; elsewhere they are faults. Changes the tree, which is the parser's.
 */
export function refuseInexact(
  tree: Record<string, unknown>,
  locationOf: (path: readonly string[]) => string,
  { fields, report }: Pick<ReadOptions, 'fields' | 'report'>,
): void {
  const takesOne = (path: readonly string[]): boolean =>
    fields.some((field) => takesBigint(field.kind) && field.path.every((key, index) => key === path[index]))

  const visit = (value: unknown, path: readonly string[]): unknown => {
    if (typeof value === 'bigint' && !takesOne(path)) {
      report.fault({ path: path.join('.'), location: locationOf(path), expected: 'a whole number that is exact, 9007199254740991 at most' })
      return undefined
    }
    if (Array.isArray(value)) for (const [index, item] of value.entries()) value[index] = visit(item, [...path, String(index)])
    else if (isPlainObject(value))
      for (const [key, child] of Object.entries(value)) if (mayHold(child)) value[key] = visit(child, [...path, key])
    return value
  }
  visit(tree, [])
}

const mayHold = (value: unknown): boolean => typeof value === 'bigint' || (typeof value === 'object' && value !== null)

function takesBigint(kind: Kind): boolean {
  if (kind.type === 'list') return takesBigint(kind.item)
  if (kind.type === 'any-of') return kind.options.some((option) => takesBigint(option.kind))
  return kind.type === 'bigint' || kind.type === 'text'
}
