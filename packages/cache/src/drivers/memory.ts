import type { LocalDriver, LocalStore } from '../driver.ts'
import type { LocalEntry } from '../entry.ts'
import { CacheError } from '../errors.ts'
import { estimateBytes } from './estimate.ts'

export interface MemoryOptions {
  /** Estimated bytes of keys and values. Required; at least 1024. The least recently used entry leaves first. */
  maxBytes: number
  /** Default: no limit but maxBytes. At least 1. */
  maxEntries?: number | undefined
}

const sweepIntervalMs = 10_000
const sweepBudget = 2_000

interface Node {
  readonly key: string
  entry: LocalEntry
  bytes: number
  newer: Node | undefined
  older: Node | undefined
}

/** l1 in the memory of this process. Values are kept and returned by reference: do not change them. */
export function memory(options: MemoryOptions): LocalDriver {
  const { maxBytes, maxEntries = Number.POSITIVE_INFINITY } = options
  if (!(Number.isFinite(maxBytes) && maxBytes >= 1024))
    throw new CacheError('ERR_CACHE_OPTIONS', 'memory: maxBytes must be a number >= 1024')
  if (!(maxEntries >= 1)) throw new CacheError('ERR_CACHE_OPTIONS', 'memory: maxEntries must be a number >= 1')
  let opened = false
  return {
    name: 'memory',
    layer: 'local',
    open({ onRemove }) {
      if (opened) throw new CacheError('ERR_CACHE_OPTIONS', 'memory: this driver belongs to another cache already; make one per cache')
      opened = true
      return new MemoryStore(maxBytes, maxEntries, onRemove)
    },
  }
}

/** Exact LRU: a map for the look-up, a doubly linked list for the order. */
class MemoryStore implements LocalStore {
  readonly #maxBytes: number
  readonly #maxEntries: number
  readonly #onRemove: (entry: LocalEntry) => void
  readonly #nodes = new Map<string, Node>()
  #newest: Node | undefined
  #oldest: Node | undefined
  #bytes = 0
  #evictions = 0
  #sweeper: NodeJS.Timeout | undefined
  #sweepFrom: Iterator<Node> | undefined

  constructor(maxBytes: number, maxEntries: number, onRemove: (entry: LocalEntry) => void) {
    this.#maxBytes = maxBytes
    this.#maxEntries = maxEntries
    this.#onRemove = onRemove
  }

  get(key: string): LocalEntry | undefined {
    const node = this.#nodes.get(key)
    if (node === undefined) return undefined
    if (node !== this.#newest) {
      this.#unlink(node)
      this.#push(node)
    }
    return node.entry
  }

  set(key: string, entry: LocalEntry): boolean {
    const bytes = 200 + key.length * 2 + estimateBytes(entry.value, this.#maxBytes) + entry.tags.length * 16
    const present = this.#nodes.get(key)
    if (present) this.#remove(present)
    if (bytes > this.#maxBytes) {
      this.#onRemove(entry)
      return false
    }
    while (this.#oldest && (this.#bytes + bytes > this.#maxBytes || this.#nodes.size + 1 > this.#maxEntries)) {
      this.#evictions++
      this.#remove(this.#oldest)
    }
    const node: Node = { key, entry, bytes, newer: undefined, older: undefined }
    this.#nodes.set(key, node)
    this.#bytes += bytes
    this.#push(node)
    this.#sweeper ??= setInterval(() => this.#sweep(), sweepIntervalMs).unref()
    return true
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
    return { entries: this.#nodes.size, bytes: this.#bytes, evictions: this.#evictions }
  }

  close(): void {
    this.clear()
  }

  /** A bounded slice of the map each time, so that no sweep blocks the loop; it goes on where the last one stopped. */
  #sweep(): void {
    const now = performance.now()
    this.#sweepFrom ??= this.#nodes.values()
    for (let left = sweepBudget; left > 0; left--) {
      const { value: node, done } = this.#sweepFrom.next()
      if (done) {
        this.#sweepFrom = undefined
        break
      }
      const { freshUntil, revalidateUntil, errorUntil } = node.entry
      if (now >= freshUntil && now >= revalidateUntil && now >= errorUntil) this.#remove(node)
    }
    if (this.#nodes.size === 0) this.#stopSweeping()
  }

  #stopSweeping(): void {
    clearInterval(this.#sweeper)
    this.#sweeper = undefined
    this.#sweepFrom = undefined
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
