import { isStorableText } from '@platform/kernel'
import type { Publisher, SharedDriver, SharedFill, SharedLookup, SharedRead, SharedStore, SharedWrite } from '../driver.ts'
import { CacheError } from '../errors.ts'
import type { Invalidation, Telling } from '../invalidation.ts'
import type { MemoryChannel } from './faults.ts'

interface Entry extends SharedWrite {
  readonly format: string
  readonly until: number
  readonly versions: readonly number[]
}

interface Lease {
  readonly token: string
  until: number
  yielded: boolean
  awaited: boolean
}

/** What the processes of a test share. Time is `performance.now()`, so that it is virtual where that is. */
export class MemoryPlace {
  readonly entries: Map<string, Entry> = new Map()
  readonly leases: Map<string, Lease> = new Map()
  readonly versions: Map<string, number> = new Map()
  position = 1

  version(name: string): number {
    const version = this.versions.get(name) ?? this.position
    this.versions.set(name, version)
    return version
  }
}

/**
 * A shared driver without a server, for tests of what stands on a cache and of the cache itself. Each operation is one step, after a microtask. With the
 * channel of a bus it stands on its server, and tells in the same step what it invalidates.
 */
export function memoryStore(place: MemoryPlace, channel?: MemoryChannel): SharedDriver {
  return {
    name: 'memory-store',
    layer: 'shared',
    open: ({ namespace, format }) => new MemoryStore(place, `${namespace}:`, format, channel?.publisher),
  }
}

class MemoryStore implements SharedStore {
  readonly publisher: Publisher | undefined
  readonly #place: MemoryPlace
  readonly #prefix: string
  readonly #format: string

  constructor(place: MemoryPlace, prefix: string, format: string, publisher: Publisher | undefined) {
    this.publisher = publisher
    this.#place = place
    this.#prefix = prefix
    this.#format = format
  }

  async read(lookups: readonly SharedLookup[]): Promise<SharedRead[]> {
    await Promise.resolve()
    return lookups.map((lookup) => this.#read(lookup))
  }

  #read({ key, tags: named, lease }: SharedLookup): SharedRead {
    const place = this.#place
    const name = this.#prefix + key
    const now = performance.now()
    const entry = place.entries.get(name)
    const tags = (some: readonly string[]): string[] => ['', ...some].map((tag) => this.#prefix + tag)
    const valid =
      entry &&
      entry.format === this.#format &&
      now < entry.until &&
      tags(entry.tags).every((tag, index) => place.versions.get(tag) === entry.versions[index])
    if (entry && !valid) place.entries.delete(name)
    const freshMs = valid ? entry.until - now - (entry.retainMs - entry.freshMs) : -1
    const found = { body: valid ? entry.body : undefined, freshMs, tags: valid ? entry.tags : [] }
    if (!lease || (valid && freshMs > 0 && freshMs > lease.earlyMs)) return { ...found, lease: 'none', position: '' }
    const holder = place.leases.get(name)
    if (holder && now < holder.until && !holder.yielded) {
      holder.awaited ||= lease.awaits
      return { ...found, lease: 'taken', position: '' }
    }
    place.leases.set(name, { token: lease.token, until: now + lease.leaseMs, yielded: false, awaited: holder?.awaited ?? false })
    for (const tag of tags(named)) place.version(tag)
    return { ...found, lease: 'held', position: `${place.position}:${place.version(this.#prefix)}` }
  }

  async fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<SharedFill> {
    await Promise.resolve()
    const place = this.#place
    const name = this.#prefix + write.key
    const holder = this.#held(name, write.token)
    if (!holder) return { stored: false, awaited: false }
    place.leases.delete(name)
    const [seen, namespace] = write.position.split(':').map(Number) as [number, number]
    const changed = write.tags.some((tag) => place.version(this.#prefix + tag) > seen)
    const stored = place.versions.get(this.#prefix) === namespace && !changed
    if (stored) this.#store(write)
    return { stored, awaited: holder.awaited }
  }

  async renew(keys: readonly string[], token: string, leaseMs: number, yielded: boolean): Promise<void> {
    await Promise.resolve()
    for (const key of keys) {
      const name = this.#prefix + key
      const until = performance.now() + leaseMs
      const holder = this.#held(name, token)
      if (holder) Object.assign(holder, { until, yielded })
    }
  }

  async release(keys: readonly string[], token: string): Promise<readonly string[]> {
    await Promise.resolve()
    return keys.filter((key) => {
      const holder = this.#held(this.#prefix + key, token)
      if (holder) this.#place.leases.delete(this.#prefix + key)
      return holder?.awaited === true
    })
  }

  async write(write: SharedWrite, telling?: Telling): Promise<boolean> {
    await Promise.resolve()
    this.#place.leases.delete(this.#prefix + write.key)
    this.#store(write)
    return this.#tell(telling, { keys: [write.key], tags: [], all: false })
  }

  async invalidate(what: Invalidation, telling?: Telling): Promise<boolean> {
    await Promise.resolve()
    // As a real server would.
    if (![...what.keys, ...what.tags].every(isStorableText)) throw new CacheError('ERR_CACHE_REFUSED')
    const place = this.#place
    for (const key of what.keys) {
      place.entries.delete(this.#prefix + key)
      place.leases.delete(this.#prefix + key)
    }
    const tags = what.all ? ['', ...what.tags] : what.tags
    if (tags.length > 0) place.position++
    for (const tag of tags) place.versions.set(this.#prefix + tag, place.position)
    return this.#tell(telling, what)
  }

  async ping(): Promise<void> {}

  async close(): Promise<void> {}

  #tell(telling: Telling | undefined, what: Invalidation): boolean {
    for (const message of telling?.messages(what) ?? []) void this.publisher?.publish(telling?.channel ?? '', message)
    return telling !== undefined
  }

  #held(name: string, token: string): Lease | undefined {
    const holder = this.#place.leases.get(name)
    return holder && holder.token === token && performance.now() < holder.until ? holder : undefined
  }

  #store(write: SharedWrite): void {
    const versions = ['', ...write.tags].map((tag) => this.#place.version(this.#prefix + tag))
    this.#place.entries.set(this.#prefix + write.key, {
      ...write,
      format: this.#format,
      until: performance.now() + write.retainMs,
      versions,
    })
  }
}
