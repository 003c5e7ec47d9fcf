import type { Tree } from './source.ts'
import { bareObject, isPlainObject, type Leaf } from './tree.ts'

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

/** A setting on its way up: its value and who gave it. What is a Map is an object of settings. */
class Given {
  readonly value: unknown
  readonly layer: Layer
  readonly path: readonly string[]

  constructor({ value, path }: Leaf, layer: Layer) {
    this.value = value
    this.layer = layer
    this.path = path
  }
}

type Node = Map<string, Node | Given>

/**
 * From the weakest layer to the strongest: objects merge by key, everything else is replaced, also an object by a scalar and a scalar by an
 * object. Every leaf is visited once, and no key means anything: keys live in maps until they are members of objects without a prototype.
 */
export function mergeLayers(layers: readonly Layer[]): Merged {
  const root: Node = new Map()
  for (const layer of layers) {
    // Neighbours have the same object around them: it is looked up once.
    let around: readonly string[] | undefined
    let node: Node = root
    for (const leaf of layer.leaves) {
      const { path, value } = leaf
      if (around === undefined || !areNeighbours(path, around)) node = nodeAt(root, path)
      around = path
      const key = path.at(-1) ?? ''
      // An object without members adds nothing to one that has some.
      if (isPlainObject(value)) {
        if (!(node.get(key) instanceof Map)) node.set(key, new Map())
      } else node.set(key, new Given(leaf, layer))
    }
  }
  const origins = new Map<string, Origin>()
  return { tree: treeOf(root, '', origins), origins }
}

/** The object around a leaf. What is in its way is weaker. */
function nodeAt(root: Node, path: readonly string[]): Node {
  let node = root
  for (let at = 0; at < path.length - 1; at++) {
    const key = path[at] as string
    const found = node.get(key)
    if (found instanceof Map) node = found
    else {
      const made: Node = new Map()
      node.set(key, made)
      node = made
    }
  }
  return node
}

function areNeighbours(one: readonly string[], other: readonly string[]): boolean {
  if (one.length !== other.length) return false
  for (let at = one.length - 2; at >= 0; at--) if (one[at] !== other[at]) return false
  return true
}

function treeOf(node: Node, prefix: string, origins: Map<string, Origin>): Record<string, unknown> {
  const tree = bareObject()
  for (const [key, child] of node) {
    const at = prefix + key
    if (child instanceof Map) tree[key] = treeOf(child, `${at}.`, origins)
    else {
      tree[key] = child.value
      origins.set(at, child.layer.origin(child.path))
    }
  }
  return tree
}
