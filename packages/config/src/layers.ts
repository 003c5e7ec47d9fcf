import convict from 'convict'
import type { Tree } from './source.ts'
import { assign, isPlainObject, type Leaf } from './tree.ts'

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

/**
 * convict merges, nothing else. It must be kept from what it does beyond merging:
 * - a leaf travels as a function, which it neither converts nor merges into (a list would be merged with an object key by key);
 * - every object of any layer is declared, because below an undeclared one it replaces instead of merging;
 * - keys are prefixed, because `default` or `toString` as a key means something else to it.
 */
export function mergeLayers(layers: readonly Layer[]): Merged {
  const containers: Record<string, unknown> = { ...placeholder }
  for (const layer of layers)
    for (const leaf of layer.leaves) declare(containers, isPlainObject(leaf.value) ? leaf.path : leaf.path.slice(0, -1))
  const engine = convict(containers as Record<string, never>, { env: {}, args: [] })
  for (const layer of layers) {
    const encoded: Record<string, unknown> = {}
    for (const leaf of layer.leaves) {
      const isEmptyObject = isPlainObject(leaf.value)
      assign(encoded, leaf.path.map(encode), isEmptyObject ? {} : () => ({ ...leaf, origin: layer.origin(leaf.path) }))
    }
    engine.load(encoded)
  }
  const origins = new Map<string, Origin>()
  return { tree: decodeTree(engine.getProperties() as Record<string, unknown>, [], origins), origins }
}

/** convict takes an object without members for a setting, so each declared object has one. */
const placeholder = { '-': { format: '*', default: null } }

function declare(containers: Record<string, unknown>, path: readonly string[]): void {
  let node = containers
  for (const key of path.map(encode)) node = (node[key] ??= { ...placeholder }) as Record<string, unknown>
}

const encode = (key: string) => `:${key}`
const decode = (key: string) => key.slice(1)

function decodeTree(node: Record<string, unknown>, path: readonly string[], origins: Map<string, Origin>): Record<string, unknown> {
  const tree: Record<string, unknown> = {}
  for (const [encoded, value] of Object.entries(node)) {
    if (!encoded.startsWith(':')) continue
    const at = [...path, decode(encoded)]
    const key = at.at(-1) ?? ''
    if (typeof value === 'function') {
      const leaf = (value as () => Leaf & { origin: Origin })()
      tree[key] = leaf.value
      origins.set(at.join('.'), leaf.origin)
    } else if (isPlainObject(value)) tree[key] = decodeTree(value, at, origins)
  }
  return tree
}
