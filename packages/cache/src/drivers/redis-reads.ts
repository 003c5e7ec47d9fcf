import { guarded } from '@platform/kernel'
import type { SharedLookup, SharedRead } from '../driver.ts'
import { CacheError } from '../errors.ts'
import { plain as withoutCommand, type RedisLike } from './redis-connection.ts'
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
/** A client that is lent may hand out numbers as texts. */
export type Count = number | string
type Found = Pick<SharedRead, 'body' | 'freshMs' | 'tags'>

/**
 * Reads entries. A look-up without a lease is part of one MGET of the entries, the version of the namespace and those of the tags that they are known
 * to carry: an entry whose versions agree counts, at the price of a GET. What shows tags that were not asked for, or is not ours, is for a script to
 * judge, and so is every look-up that wants a lease.
 */
export class RedisReads {
  readonly #place: RedisPlace
  /** Of keys whose entry carries other tags than its readers name. */
  readonly #tags = new Map<string, readonly string[]>()
  /** What has to be added to `performance.now()` for the server's time. Never behind it: what is nearly stale is left to the script. */
  #clock = { ahead: Number.NaN, heardAt: Number.NEGATIVE_INFINITY }
  /** Counts the connections that were lost or made. */
  #connections = 0

  constructor(place: RedisPlace) {
    this.#place = place
  }

  /**
   * Another server may be there now. A client that is lent sends again what a lost connection has left unanswered, before anything else: that answer is
   * of a server that has not been looked at yet, and does not count.
   */
  forgetServer(): void {
    this.#clock.heardAt = Number.NEGATIVE_INFINITY
    this.#connections++
  }

  read(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    const plain = lookups.length <= keysPerCall && lookups.every(({ lease }) => !lease)
    return plain ? this.#glance(lookups, versionLifeMs) : this.#inParts(lookups, versionLifeMs)
  }

  async #inParts(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    const plain = lookups.filter(({ lease }) => !lease)
    const leased = lookups.filter(({ lease }) => lease)
    const reads = (
      await Promise.all([
        ...slicesOf(plain).map((slice) => this.#glance(slice, versionLifeMs)),
        ...slicesOf(leased).map((slice) => this.#judge(slice, versionLifeMs)),
      ])
    ).flat()
    let [nextPlain, nextLeased] = [0, plain.length]
    return lookups.map(({ lease }) => reads[lease ? nextLeased++ : nextPlain++] as SharedRead)
  }

  #glance(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    const { client, prefix, binary } = this.#place
    const connection = this.#connections
    const names = [`${prefix}t:`]
    for (const { key } of lookups) names.push(`${prefix}e:${key}`)
    const places = this.#addTags(lookups, names)
    const clockIsKnown = performance.now() - this.#clock.heardAt <= clockMs
    const asked: Promise<Reply[]> = binary ? client.mgetBuffer(names) : client.mget(names)
    const judge = (values: readonly Reply[]): SharedRead[] | Promise<SharedRead[]> => {
      this.#throwIfLost(connection)
      const reads = this.#plain(lookups, values, places)
      return reads.includes(undefined) ? this.#judgeRest(lookups, reads, versionLifeMs) : (reads as SharedRead[])
    }
    return (clockIsKnown ? asked : Promise.all([asked, this.#hearClock()]).then(([values]) => values)).then(judge, refuse)
  }

  async #judgeRest(
    lookups: readonly SharedLookup[],
    reads: readonly (SharedRead | undefined)[],
    versionLifeMs: number,
  ): Promise<SharedRead[]> {
    const judged = await this.#judge(
      lookups.filter((_, index) => !reads[index]),
      versionLifeMs,
    )
    let next = 0
    return reads.map((read) => read ?? (judged[next++] as SharedRead))
  }

  /** Where the version of each tag will stand among the answers. */
  #addTags(lookups: readonly SharedLookup[], names: string[]): ReadonlyMap<string, number> {
    let places: Map<string, number> | undefined
    for (const { key, tags } of lookups) {
      for (const tag of this.#tags.get(key) ?? tags) {
        places ??= new Map()
        if (places.has(tag)) continue
        places.set(tag, names.length)
        names.push(`${this.#place.prefix}t:${tag}`)
      }
    }
    return places ?? noPlaces
  }

  /** Undefined: for the script to judge. */
  #plain(lookups: readonly SharedLookup[], values: readonly Reply[], places: ReadonlyMap<string, number>): (SharedRead | undefined)[] {
    const [namespace] = values
    const version = String(namespace)
    const head = `${this.#place.format} ${version} `
    const now = performance.now() + this.#clock.ahead
    const reads: (SharedRead | undefined)[] = []
    for (let index = 1; index <= lookups.length; index++) {
      const value = values[index] as Reply
      reads.push(
        value === null || namespace === null ? absent : (untagged(value, head, now) ?? this.#plainOne(value, version, now, values, places)),
      )
    }
    return reads
  }

  #plainOne(
    value: string | Buffer,
    version: string,
    now: number,
    values: readonly Reply[],
    places: ReadonlyMap<string, number>,
  ): SharedRead | undefined {
    const entry = parse(value)
    if (entry === undefined || entry.format !== this.#place.format) return undefined
    if (entry.version !== version) return absent
    const { body, untilMs, tags } = entry
    const freshMs = untilMs - now
    if (tags === '') return { body, freshMs, tags: noTags, lease: 'none', position: '' }
    const listed = listedIn(tags)
    if (!listed || listed.some(({ tag }) => !places.has(tag))) return undefined
    if (listed.some(({ tag, version: written }) => String(values[places.get(tag) as number]) !== written)) return absent
    return { body, freshMs, tags: listed.map(({ tag }) => tag), lease: 'none', position: '' }
  }

  async #judge(lookups: readonly SharedLookup[], versionLifeMs: number): Promise<SharedRead[]> {
    const { client, prefix, fullPrefix, format, binary, onFault } = this.#place
    const keys: string[] = []
    const args: (string | number)[] = [fullPrefix, format, 0, versionLifeMs]
    for (const { key, tags, lease } of lookups) {
      keys.push(`${prefix}e:${key}`)
      args.push(lease ? `${Math.floor(lease.earlyMs)} ${lease.token} ${lease.awaits ? 1 : 0} ${listOf(tags)}` : '')
      if (lease) args[2] = lease.leaseMs
    }
    const connection = this.#connections
    const sentAt = performance.now()
    const reply = (await (binary ? readScript.runBinary(client, keys, args) : readScript.run(client, keys, args))) as (Reply | Count)[]
    this.#throwIfLost(connection)
    const [now, faults, position] = reply.slice(-3).map(String) as [string, string, string]
    this.#hear(Number(now), sentAt)
    for (let left = Number(faults); left > 0; left--) onFault('a key of l2 did not hold what it should and was removed')
    return lookups.map(({ key, tags }, index) => {
      const entry = reply[index * 2] as Reply
      const lease = (['none', 'held', 'taken'] as const)[Number(reply[index * 2 + 1])] ?? 'none'
      const found = entry === null ? absent : foundIn(entry, Number(now))
      if (entry !== null) this.#remember(key, found.tags, tags)
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

  #throwIfLost(connection: number): void {
    if (connection !== this.#connections) throw new CacheError('ERR_CACHE_UNAVAILABLE', 'the connection was lost before the answer came')
  }

  #hear(serverMs: number, sentAt: number): void {
    this.#clock = { ahead: serverMs - sentAt, heardAt: performance.now() }
  }
}

const noTags: readonly string[] = []
const noPlaces: ReadonlyMap<string, number> = new Map()
const absent: SharedRead = { body: undefined, freshMs: -1, tags: noTags, lease: 'none', position: '' }

function refuse(error: unknown): never {
  throw withoutCommand(error)
}

function slicesOf(lookups: readonly SharedLookup[]): (readonly SharedLookup[])[] {
  const slices: (readonly SharedLookup[])[] = []
  for (let from = 0; from < lookups.length; from += keysPerCall) slices.push(lookups.slice(from, from + keysPerCall))
  return slices
}

export function listOf(tags: readonly string[]): string {
  return tags.length === 0 ? '' : JSON.stringify(tags)
}

/** The short way for the usual entry: of this form and version, and without tags. Undefined: another, to be looked at closely. */
function untagged(value: string | Buffer, head: string, now: number): SharedRead | undefined {
  if (typeof value !== 'string' || !value.startsWith(head)) return undefined
  const end = value.indexOf(' ', head.length)
  if (end < 0 || value[end + 1] !== '\n') return undefined
  const untilMs = Number(value.slice(head.length, end))
  if (Number.isNaN(untilMs)) return undefined
  return { body: value.slice(end + 2), freshMs: untilMs - now, tags: noTags, lease: 'none', position: '' }
}

/** `<format> <version of the namespace> <fresh until> <names and versions of tags in turn, JSON, or nothing>\n<body>`; undefined: has no such head. */
function parse(
  value: string | Buffer,
): { format: string; version: string; untilMs: number; tags: string; body: string | Buffer } | undefined {
  const line = value.indexOf('\n')
  const head = typeof value === 'string' ? value : value.toString('utf8', 0, Math.max(0, line))
  const end = typeof value === 'string' ? line : head.length
  const first = head.indexOf(' ')
  const second = head.indexOf(' ', first + 1)
  const third = head.indexOf(' ', second + 1)
  const untilMs = Number(head.slice(second + 1, third))
  if (line < 0 || first < 0 || second < 0 || third < 0 || third >= end || Number.isNaN(untilMs)) return undefined
  return {
    format: head.slice(0, first),
    version: head.slice(first + 1, second),
    untilMs,
    tags: head.slice(third + 1, end),
    body: typeof value === 'string' ? value.slice(line + 1) : value.subarray(line + 1),
  }
}

/** In what the script has found valid. */
function foundIn(value: string | Buffer, now: number): Found {
  const entry = parse(value)
  const listed = entry && (entry.tags === '' ? [] : listedIn(entry.tags))
  return listed ? { body: entry.body, freshMs: entry.untilMs - now, tags: listed.map(({ tag }) => tag) } : absent
}

/** Undefined: no list of names and versions. */
function listedIn(tags: string): { readonly tag: string; readonly version: string }[] | undefined {
  const list = guarded(() => JSON.parse(tags) as unknown)
  if (!Array.isArray(list) || list.length % 2 === 1 || !list.every((part) => typeof part === 'string')) return undefined
  return list.flatMap((tag: string, index) => (index % 2 === 0 ? [{ tag, version: list[index + 1] as string }] : []))
}
