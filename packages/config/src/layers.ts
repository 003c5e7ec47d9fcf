import convict from 'convict'
import type { Tree } from './source.ts'
import { isPlainObject, type Leaf } from './tree.ts'

/** Who gave a setting its value. */
export interface Origin {
  readonly source: string
  readonly location: string
}

export interface Layer {
  readonly leaves: readonly Leaf[]
  origin(path: readonly string[]): Origin
}

export interface Merged {
  readonly tree: Tree
  readonly origins: ReadonlyMap<string, Origin>
}

/** What only one layer speaks of is taken as it is; where several do, at any depth, convict merges. */
export function mergeLayers(layers: readonly Layer[]): Merged {
  const owners = new Map<string, Layer | undefined>()
  for (const layer of layers)
    for (const { path } of layer.leaves) {
      const key = path[0] ?? ''
      if (!owners.has(key)) owners.set(key, layer)
      else if (owners.get(key) !== layer) owners.set(key, undefined)
    }
  const isShared = ({ path }: Leaf): boolean => owners.get(path[0] ?? '') === undefined
  const shared = layers.map(({ leaves, origin }) => ({ leaves: leaves.filter(isShared), origin }))
  const origins = new Map<string, Origin>()
  const tree = shared.some(({ leaves }) => leaves.length > 0) ? mergeShared(shared, origins) : {}
  for (const { leaves, origin } of layers) {
    let around: readonly string[] | undefined
    let node: Record<string, unknown> = tree
    let prefix = ''
    for (const leaf of leaves) {
      if (isShared(leaf)) continue
      const { path, value } = leaf
      if (around === undefined || !isNeighbour(path, around)) {
        node = nodeAt(tree, path, plain)
        prefix = path.length === 1 ? '' : `${path.slice(0, -1).join('.')}.`
      }
      around = path
      const key = path.at(-1) ?? ''
      const isEmptyObject = isPlainObject(value)
      node[key] = isEmptyObject ? {} : value
      if (!isEmptyObject) origins.set(prefix + key, origin(path))
    }
  }
  return { tree, origins }
}

/**
 * convict merges, nothing else. It must be kept from what it does beyond merging:
 * - a leaf travels as a function, which it neither converts nor merges into (a list would be merged with an object key by key);
 * - every object of any layer is declared, because below an undeclared one it replaces instead of merging;
 * - keys are prefixed, because `default` or `toString` as a key means something else to it.
 */
function mergeShared(layers: readonly Layer[], origins: Map<string, Origin>): Record<string, unknown> {
  const containers: Record<string, unknown> = { ...placeholder }
  for (const layer of layers) {
    // Neighbours have the same object around them: it is declared once.
    let around: readonly string[] | undefined
    for (const { path, value } of layer.leaves) {
      if (isPlainObject(value)) declare(containers, path, path.length)
      else if (around === undefined || !isNeighbour(path, around)) declare(containers, path, path.length - 1)
      around = path
    }
  }
  const engine = convict(containers as Record<string, never>, { env: {}, args: [] })
  for (const layer of layers) {
    const encoded: Record<string, unknown> = {}
    let around: readonly string[] | undefined
    let node: Record<string, unknown> = encoded
    for (const leaf of layer.leaves) {
      const { path } = leaf
      if (around === undefined || !isNeighbour(path, around)) node = nodeAt(encoded, path, encode)
      around = path
      node[encode(path.at(-1) ?? '')] = isPlainObject(leaf.value) ? {} : () => ({ value: leaf.value, origin: layer.origin(path) })
    }
    engine.load(encoded)
  }
  return decodeTree(engine.getProperties() as Record<string, unknown>, '', origins)
}

/** convict takes an object without members for a setting, so each declared object has one. */
const placeholder = { '-': { format: '*', default: null } }

function declare(containers: Record<string, unknown>, path: readonly string[], depth: number): void {
  let node = containers
  for (let at = 0; at < depth; at++) node = (node[encode(path[at] ?? '')] ??= { ...placeholder }) as Record<string, unknown>
}

/** The object around a leaf. Leaves of one layer come from one tree: what is in their way is an object. */
function nodeAt(root: Record<string, unknown>, path: readonly string[], name: (key: string) => string): Record<string, unknown> {
  let node = root
  for (let at = 0; at < path.length - 1; at++) node = (node[name(path[at] ?? '')] ??= {}) as Record<string, unknown>
  return node
}

function isNeighbour(one: readonly string[], other: readonly string[]): boolean {
  if (one.length !== other.length) return false
  for (let at = one.length - 2; at >= 0; at--) if (one[at] !== other[at]) return false
  return true
}

const plain = (key: string) => key
const encode = (key: string) => `:${key}`
const decode = (key: string) => key.slice(1)

function decodeTree(node: Record<string, unknown>, path: string, origins: Map<string, Origin>): Record<string, unknown> {
  const tree: Record<string, unknown> = {}
  for (const encoded of Object.keys(node)) {
    if (!encoded.startsWith(':')) continue
    const value = node[encoded]
    const key = decode(encoded)
    const at = path === '' ? key : `${path}.${key}`
    if (typeof value === 'function') {
      const leaf = (value as () => { value: unknown; origin: Origin })()
      tree[key] = leaf.value
      origins.set(at, leaf.origin)
    } else if (isPlainObject(value)) tree[key] = decodeTree(value, at, origins)
  }
  return tree
}
