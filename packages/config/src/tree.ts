import type { Tree } from './source.ts'

const forbidden = new Set(['__proto__', 'constructor', 'prototype'])
const maxDepth = 64

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** An object that no key can lead out of: it has no prototype, so `hasOwnProperty` and `toString` are keys like any other. */
export function bareObject(entries: Iterable<readonly [string, unknown]> = []): Record<string, unknown> {
  const bare = Object.create(null) as Record<string, unknown>
  for (const [key, value] of entries) bare[key] = value
  return bare
}

export interface Leaf {
  readonly path: readonly string[]
  readonly value: unknown
}

export interface Inspection {
  readonly leaves: readonly Leaf[]
  /** Paths that hold a key which could reach a prototype, or that are nested without end. */
  readonly rejected: readonly { path: readonly string[]; expected: string }[]
}

/** Takes a tree apart into copies of its leaves (arrays are leaves: they replace, they do not merge). */
export function inspectTree(tree: Tree): Inspection {
  const leaves: Leaf[] = []
  const rejected: { path: readonly string[]; expected: string }[] = []
  const isAllowed = (path: readonly string[]): boolean => {
    if (path.length > maxDepth) rejected.push({ path: path.slice(0, 8), expected: `at most ${maxDepth} levels` })
    else if (forbidden.has(path.at(-1) ?? '')) rejected.push({ path, expected: 'another key: this one is never accepted' })
    else return true
    return false
  }
  const copy = (value: unknown, path: readonly string[]): unknown => {
    if (typeof value !== 'object' || value === null) return value
    const inner = (child: unknown, key: string) => (isAllowed([...path, key]) ? copy(child, [...path, key]) : undefined)
    if (Array.isArray(value)) return value.map((child, index) => inner(child, String(index)))
    if (!isPlainObject(value)) return value
    return bareObject(Object.entries(value).map(([key, child]) => [key, inner(child, key)]))
  }
  const visit = (node: Record<string, unknown>, path: readonly string[]): void => {
    for (const key of Object.keys(node)) {
      const at = [...path, key]
      const value = node[key]
      if (value === undefined || !isAllowed(at)) continue
      if (isPlainObject(value) && Object.keys(value).length > 0) visit(value, at)
      else leaves.push({ path: at, value: copy(value, at) })
    }
  }
  visit(tree, [])
  return { leaves, rejected }
}

/** Objects and lists of its own; what is neither is shared. */
export function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf)
  return isPlainObject(value) ? bareObject(Object.entries(value).map(([key, child]) => [key, copyOf(child)])) : value
}

/** Builds a tree from named settings; `tree` has no prototype, and `path` comes from the schema. */
export function assign(tree: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let node = tree
  for (const key of path.slice(0, -1)) {
    if (!isPlainObject(node[key])) node[key] = bareObject()
    node = node[key] as Record<string, unknown>
  }
  node[path.at(-1) ?? ''] = value
}

/** Freezes plain objects and arrays all the way down; other objects (dates, secrets, class instances) are left as they are. */
export function deepFreeze<T>(value: T): T {
  if ((Array.isArray(value) || isPlainObject(value)) && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const child of Object.values(value)) deepFreeze(child)
  }
  return value
}

export function valueAt(tree: unknown, path: readonly string[]): unknown {
  let value = tree
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

/** A copy of the tree that shares everything but the way to one setting, which gets a value, or goes when that is `undefined`. */
export function replaced(tree: Tree, path: readonly string[], value: unknown): Tree {
  const [key = '', ...rest] = path
  const copy = bareObject(Object.entries(tree))
  const inner = copy[key]
  if (rest.length > 0) copy[key] = replaced(isPlainObject(inner) ? inner : bareObject(), rest, value)
  else if (value === undefined) delete copy[key]
  else copy[key] = value
  return copy
}
