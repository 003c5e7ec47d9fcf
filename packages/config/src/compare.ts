import { isDeepStrictEqual } from 'node:util'
import type { Field } from './fields.ts'
import { Secret } from './secret.ts'
import { isPlainObject, valueAt } from './tree.ts'

/** Equal all the way down; secrets by what they hide. */
export function same(left: unknown, right: unknown): boolean {
  if (Object.is(left, right)) return true
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false
  if (Secret.isInstance(left) && Secret.isInstance(right)) return same(left.reveal(), right.reveal())
  if (Array.isArray(left) && Array.isArray(right))
    return left.length === right.length && left.every((item, index) => same(item, right[index]))
  if (isPlainObject(left) && isPlainObject(right)) {
    const keys = Object.keys(left)
    return keys.length === Object.keys(right).length && keys.every((key) => Object.hasOwn(right, key) && same(left[key], right[key]))
  }
  if (left instanceof Map && right instanceof Map) return same([...left], [...right])
  if (left instanceof Set && right instanceof Set) return same([...left], [...right])
  return !Secret.isInstance(left) && !Secret.isInstance(right) && isDeepStrictEqual(left, right)
}

export function changedFields(fields: readonly Field[], before: unknown, after: unknown): Field[] {
  return fields.filter((field) => !same(valueAt(before, field.path), valueAt(after, field.path)))
}
