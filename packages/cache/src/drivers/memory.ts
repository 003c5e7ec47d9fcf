import { backgroundInterval, backgroundTimeout, integerOption, knownOptions, numberOption } from '@platform/kernel'
import type { LocalDriver, LocalStore } from '../driver.ts'
import type { LocalEntry } from '../entry.ts'
import { wrongOption } from '../errors.ts'
import { estimateBytes, tagBytes, textBytes } from './estimate.ts'

export interface MemoryOptions {
  /** Estimated heap of everything that is kept: keys, values, tags, bookkeeping. Required; at least 1024. Entries that nobody asks for leave first. */
  maxBytes: number
  /** Default: no limit but maxBytes. At least 1. */
  maxEntries?: number | undefined
}

const sweepIntervalMs = 10_000
/** Entries looked at in one go, and the pause before the next: a million in ten seconds, none of which blocks the loop for long. */
const sweepSlice = 1_000
const sweepPauseMs = 10
/** An entry and its place in the map and in the list, without key, tags and value. */
const entryBytes = 300
/** The list of an entry's tags. */
const tagListBytes = 48

interface Node {
  readonly key: string
  entry: LocalEntry
  bytes: number
  /** Asked for since it was last passed over. */
  used: boolean
  newer: Node | undefined
  older: Node | undefined
}

/** l1 in the memory of this process. Values are kept and returned by reference: do not change them. */
export function memory(options: MemoryOptions): LocalDriver {
  knownOptions(wrongOption, 'memory', options, ['maxBytes', 'maxEntries'])
  const maxBytes = numberOption(wrongOption, 'memory.maxBytes', options.maxBytes, 1_024)
  const maxEntries = integerOption(wrongOption, 'memory.maxEntries', options.maxEntries ?? Number.MAX_SAFE_INTEGER, 1)
  let opened = false
  return {
    name: 'memory',
    layer: 'local',
    open({ onRemove, sharedBytes }) {
      if (opened) throw wrongOption('memory', 'belongs to another cache already; make one per cache')
      opened = true
      return new MemoryStore(maxBytes, maxEntries, onRemove, sharedBytes)
    },
  }
}

/** Second chance: whoever is asked for is passed over once when room is needed, so that a hit changes one flag and not the order. */
class MemoryStore implements LocalStore {
  readonly #maxBytes: number
  readonly #maxEntries: number
  readonly #onRemove: (entry: LocalEntry) => void
  /** Of the tags that entries carry; goes down as the last that carries one leaves. */
  readonly #sharedBytes: () => number
  readonly #nodes = new Map<string, Node>()
  #newest: Node | undefined
  #oldest: Node | undefined
  #bytes = 0
  #evictions = 0
  #sweeper: NodeJS.Timeout | undefined
  #slicing: NodeJS.Timeout | undefined

  constructor(maxBytes: number, maxEntries: number, onRemove: (entry: LocalEntry) => void, sharedBytes: () => number) {
    this.#maxBytes = maxBytes
    this.#maxEntries = maxEntries
    this.#onRemove = onRemove
    this.#sharedBytes = sharedBytes
  }

  get(key: string): LocalEntry | undefined {
    const node = this.#nodes.get(key)
    if (node === undefined) return undefined
    node.used = true
    return node.entry
  }

  set(key: string, entry: LocalEntry): boolean {
    const { tags } = entry
    const listBytes = tags.length === 0 ? 0 : tagListBytes + tags.length * 8
    const bytes = entryBytes + textBytes(key) + estimateBytes(entry.value, this.#maxBytes) + listBytes
    const present = this.#nodes.get(key)
    if (present) this.#remove(present)
    const alone = tags.reduce((sum, { refs, name }) => (refs === 1 ? sum + tagBytes(name) : sum), bytes)
    if (alone > this.#maxBytes) {
      this.#onRemove(entry)
      return false
    }
    while (this.#oldest && (this.#used + bytes > this.#maxBytes || this.#nodes.size + 1 > this.#maxEntries)) {
      this.#evictions++
      this.#evict(this.#oldest)
    }
    const node: Node = { key, entry, bytes, used: false, newer: undefined, older: undefined }
    this.#nodes.set(key, node)
    this.#bytes += bytes
    this.#push(node)
    this.#sweeper ??= backgroundInterval(() => this.#sweep(), sweepIntervalMs)
    return true
  }

  #evict(oldest: Node): void {
    let node = oldest
    while (node.used) {
      node.used = false
      this.#unlink(node)
      this.#push(node)
      node = this.#oldest as Node
    }
    this.#remove(node)
  }

  get #used(): number {
    return this.#bytes + this.#sharedBytes()
  }

  delete(key: string): void {
    const node = this.#nodes.get(key)
    if (node) this.#remove(node)
  }

  clear(): void {
    for (const node of this.#nodes.values()) this.#onRemove(node.entry)
    this.#nodes.clear()
    this.#newest = undefined
    this.#oldest = undefined
    this.#bytes = 0
    this.#stopSweeping()
  }

  stats(): { entries: number; bytes: number; evictions: number } {
    return { entries: this.#nodes.size, bytes: this.#used, evictions: this.#evictions }
  }

  close(): void {
    this.clear()
  }

  /** The whole map, slice by slice. */
  #sweep(): void {
    if (this.#slicing) return
    const nodes = this.#nodes.values()
    const slice = (): void => {
      this.#slicing = undefined
      const now = performance.now()
      for (let left = sweepSlice; left > 0; left--) {
        const { value: node, done } = nodes.next()
        if (done) {
          if (this.#nodes.size === 0) this.#stopSweeping()
          return
        }
        const { freshUntil, revalidateUntil, errorUntil } = node.entry
        if (now >= freshUntil && now >= revalidateUntil && now >= errorUntil) this.#remove(node)
      }
      this.#slicing = backgroundTimeout(slice, sweepPauseMs)
    }
    slice()
  }

  #stopSweeping(): void {
    clearInterval(this.#sweeper)
    clearTimeout(this.#slicing)
    this.#sweeper = undefined
    this.#slicing = undefined
  }

  #remove(node: Node): void {
    this.#nodes.delete(node.key)
    this.#bytes -= node.bytes
    this.#unlink(node)
    this.#onRemove(node.entry)
  }

  #unlink(node: Node): void {
    if (node.newer) node.newer.older = node.older
    else this.#newest = node.older
    if (node.older) node.older.newer = node.newer
    else this.#oldest = node.newer
    node.newer = undefined
    node.older = undefined
  }

  #push(node: Node): void {
    node.older = this.#newest
    if (this.#newest) this.#newest.newer = node
    this.#newest = node
    this.#oldest ??= node
  }
}
