import { guarded } from '@platform/kernel'
import type { SharedLookup, SharedRead } from '../driver.ts'
import { plain, type RedisLike } from './redis-connection.ts'
import { clockScript, readScript } from './redis-scripts.ts'

export interface RedisPlace {
  readonly client: RedisLike
  /** Of every key; the client puts its keyPrefix before it. */
  readonly prefix: string
  /** With the client's keyPrefix: for names that a script builds itself. */
  readonly fullPrefix: string
  readonly format: string
  readonly binary: boolean
  onFault(fault: string): void
}

/** Entries that one command asks for. More answers at once would keep server and client waiting for each other. */
const keysPerCall = 25
/** How long the server's clock is believed to go on as it was heard. */
const clockMs = 250
/** Keys whose tags are remembered. */
const maxRemembered = 10_000

type Reply = string | Buffer | null
type Found = Pick<SharedRead, 'body' | 'freshMs' | 'tags'>

/**
 * Reads entries. First by one MGET of the entries, the version of the namespace and those of the tags that they are known to carry: a fresh entry
 * whose versions agree is a hit, at the price of a GET. Whatever else there is (nothing, stale, other tags, not ours) is for a script to
 * judge, which also gives the leases.
 */
export class RedisReads {
  readonly #place: RedisPlace
  /** Of keys whose entry carries other tags than its readers name. */
  readonly #tags = new Map<string, readonly string[]>()
  /** What has to be added to `performance.now()` for the server's time. Never behind it: what is nearly stale is left to the script. */
  #clock = { ahead: 0, heardAt: Number.NEGATIVE_INFINITY }

  constructor(place: RedisPlace) {
    this.#place = place
  }

  /** Another server may be there now. */
  forgetClock(): void {
    this.#clock.heardAt = Number.NEGATIVE_INFINITY
  }

  read(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    if (lookups.length <= keysPerCall) return this.#read(lookups, versionLifeMs)
    const parts: Promise<SharedRead[]>[] = []
    for (let from = 0; from < lookups.length; from += keysPerCall)
      parts.push(this.#read(lookups.slice(from, from + keysPerCall), versionLifeMs))
    return Promise.all(parts).then((reads) => reads.flat())
  }

  async #read(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    const { prefix } = this.#place
    const names = [`${prefix}t:`]
    for (const { key } of lookups) names.push(`${prefix}e:${key}`)
    const places = this.#addTags(lookups, names)
    let values: Reply[]
    try {
      values = await this.#values(names)
    } catch (error) {
      throw plain(error)
    }
    const reads = this.#hits(lookups, values, places)
    const left = lookups.filter((_, index) => !reads[index])
    if (left.length === 0) return reads as SharedRead[]
    const judged = await this.#judge(left, versionLifeMs)
    let next = 0
    return reads.map((read) => read ?? (judged[next++] as SharedRead))
  }

  /** Where the version of each tag will stand among the answers. */
  #addTags(lookups: readonly SharedLookup[], names: string[]): ReadonlyMap<string, number> {
    const places = new Map<string, number>()
    for (const { key, lease } of lookups) {
      for (const tag of this.#tags.get(key) ?? lease?.tags ?? []) {
        if (places.has(tag)) continue
        places.set(tag, names.length)
        names.push(`${this.#place.prefix}t:${tag}`)
      }
    }
    return places
  }

  #values(names: string[]): Promise<Reply[]> {
    const { client, binary } = this.#place
    const asked: Promise<Reply[]> = binary ? client.mgetBuffer(names) : client.mget(names)
    if (performance.now() - this.#clock.heardAt <= clockMs) return asked
    return Promise.all([asked, this.#hearClock()]).then(([values]) => values)
  }

  /** Undefined: not for this way. */
  #hits(lookups: readonly SharedLookup[], values: readonly Reply[], places: ReadonlyMap<string, number>): (SharedRead | undefined)[] {
    const namespace = values[0]
    if (namespace === null) return lookups.map(() => undefined)
    const valid = `${this.#place.format} ${String(namespace)} `
    const versionOf = (tag: string): string | undefined => {
      const index = places.get(tag)
      return index === undefined ? undefined : String(values[index])
    }
    const now = performance.now() + this.#clock.ahead
    return lookups.map(({ lease }, index) => {
      const entry = values[index + 1] as Reply
      if (entry === null) return lease ? undefined : absent
      const found = parse(entry, valid, now, versionOf)
      return found && found.freshMs > (lease?.earlyMs ?? 0) ? { ...found, lease: 'none', position: '' } : undefined
    })
  }

  async #judge(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    const { client, prefix, fullPrefix, format, binary, onFault } = this.#place
    const keys: string[] = []
    const args: (string | number)[] = [fullPrefix, format, 0, versionLifeMs]
    for (const { key, lease } of lookups) {
      keys.push(`${prefix}e:${key}`)
      args.push(lease ? `${Math.floor(lease.earlyMs)} ${lease.token} ${lease.awaits ? 1 : 0} ${listOf(lease.tags)}` : '')
      if (lease) args[2] = lease.leaseMs
    }
    const sentAt = performance.now()
    const reply = (await (binary ? readScript.runBinary(client, keys, args) : readScript.run(client, keys, args))) as (Reply | number)[]
    const [now, faults, position] = reply.slice(-3).map(String) as [string, string, string]
    this.#hear(Number(now), sentAt)
    for (let left = Number(faults); left > 0; left--) onFault('a key of l2 did not hold what it should and was removed')
    return lookups.map(({ key, lease: wanted }, index) => {
      const entry = reply[index * 2] as Reply
      const lease = (['none', 'held', 'taken'] as const)[reply[index * 2 + 1] as number] ?? 'none'
      if (entry === null) return { ...absent, lease, position }
      const found = parse(entry, '', Number(now), undefined) ?? absent
      this.#remember(key, found.tags, wanted?.tags ?? [])
      return { ...found, lease, position }
    })
  }

  #remember(key: string, tags: readonly string[], named: readonly string[]): void {
    this.#tags.delete(key)
    if (tags.every((tag) => named.includes(tag))) return
    this.#tags.set(key, tags)
    if (this.#tags.size > maxRemembered) this.#tags.delete(this.#tags.keys().next().value as string)
  }

  async #hearClock(): Promise<void> {
    const sentAt = performance.now()
    this.#hear(Number(await clockScript.run(this.#place.client, [`${this.#place.prefix}t:`], [])), sentAt)
  }

  #hear(serverMs: number, sentAt: number): void {
    this.#clock = { ahead: serverMs - sentAt, heardAt: performance.now() }
  }
}

const absent: SharedRead = { body: undefined, freshMs: -1, tags: [], lease: 'none', position: '' }

export function listOf(tags: readonly string[]): string {
  return tags.length === 0 ? '' : JSON.stringify(tags)
}

/**
 * `<format> <version of the namespace> <fresh until> <names and versions of tags in turn, JSON, or nothing>\n<body>`. Undefined: the head does not
 * begin with `valid`, or `versionOf` says otherwise of a tag.
 */
function parse(
  entry: string | Buffer,
  valid: string,
  now: number,
  versionOf: ((tag: string) => string | undefined) | undefined,
): Found | undefined {
  const line = entry.indexOf('\n')
  const head = typeof entry === 'string' ? entry.slice(0, line) : entry.toString('utf8', 0, line)
  if (line < 0 || !head.startsWith(valid)) return undefined
  const until = valid === '' ? head.indexOf(' ', head.indexOf(' ') + 1) + 1 : valid.length
  const list = head.indexOf(' ', until) + 1
  const freshMs = Number(head.slice(until, list - 1)) - now
  const body = typeof entry === 'string' ? entry.slice(line + 1) : entry.subarray(line + 1)
  const tags = list === head.length ? [] : tagsOf(head.slice(list), versionOf)
  return tags && { body, freshMs, tags }
}

/** Undefined: no list of names and versions, or not of these versions. */
function tagsOf(list: string, versionOf: ((tag: string) => string | undefined) | undefined): string[] | undefined {
  const listed = guarded(() => JSON.parse(list) as unknown)
  if (!Array.isArray(listed) || !listed.every((part) => typeof part === 'string')) return undefined
  for (let index = 0; versionOf && index < listed.length; index += 2)
    if (versionOf(listed[index] as string) !== listed[index + 1]) return undefined
  return listed.filter((_, index) => index % 2 === 0)
}
