import { backgroundInterval } from '@platform/kernel'
import type { SharedDriver, SharedLookup, SharedRead, SharedStore, SharedWrite } from '../driver.ts'
import { wrongOption } from '../errors.ts'
import type { Invalidation } from '../invalidation.ts'
import { redisConnection, type RedisConnectionOptions, type RedisLike } from './redis-connection.ts'
import { fillScript, guardScript, invalidateScript, readScript, releaseScript, renewScript, writeScript } from './redis-scripts.ts'

export { redisBus, type RedisBusOptions } from '../buses/redis.ts'
export type { RedisConnectionOptions, RedisLike } from './redis-connection.ts'

/** Changes when the layout of an entry does: entries of another layout are misses. */
const layout = '2'
/** Of versions made before it is known how long the entry will live. */
const leastVersionLifeMs = 60_000
/** Arguments of one script call stay far below Lua's stack limit. */
const keysPerCall = 500
/** Redis answers nobody else while it works on one. */
const readsPerCall = 100
/** A cluster does not tell when one of its nodes is another: it is asked. */
const clusterGuardMs = 1_000

/** l2 in Redis 6.2 or newer, or Valkey: one primary, or a cluster, in which a namespace lives in one slot. */
export function redis(options: RedisConnectionOptions): SharedDriver {
  const connection = redisConnection('redis', options)
  let opened = false
  return {
    name: 'redis',
    layer: 'shared',
    open({ namespace, format, binary, onError, onFault }) {
      if (opened) throw wrongOption('redis', 'belongs to another cache already; make one per cache')
      opened = true
      const { client, owned } = connection.open(onError)
      return new RedisStore(client, owned, namespace, { format: `${layout}:${format}`, binary, onFault })
    },
  }
}

interface Question {
  readonly lookup: SharedLookup
  resolve(read: SharedRead): void
  reject(error: unknown): void
}

class RedisStore implements SharedStore {
  readonly #client: RedisLike
  readonly #owned: boolean
  readonly #prefix: string
  /** Keys that a script builds itself do not get the client's keyPrefix. */
  readonly #fullPrefix: string
  readonly #format: string
  readonly #binary: boolean
  readonly #onFault: (fault: string) => void
  readonly #guarding: NodeJS.Timeout | undefined
  readonly #distrust = (): void => {
    this.#trusted = undefined
  }
  /** Resolves once this connection's server is known to be the one that wrote last, or to have been cleared. */
  #trusted: Promise<void> | 'yes' | undefined
  #versionLifeMs = leastVersionLifeMs
  #asked: Question[] = []

  constructor(
    client: RedisLike,
    owned: boolean,
    namespace: string,
    options: { readonly format: string; readonly binary: boolean; onFault(fault: string): void },
  ) {
    this.#client = client
    this.#owned = owned
    this.#prefix = `{${namespace}}:`
    this.#fullPrefix = `${client.options.keyPrefix ?? ''}${this.#prefix}`
    this.#format = options.format
    this.#binary = options.binary
    this.#onFault = (fault) => options.onFault(fault)
    for (const event of ['close', 'ready', '+node']) client.on(event, this.#distrust)
    if ('nodes' in client) this.#guarding = backgroundInterval(this.#distrust, clusterGuardMs)
  }

  /** What is asked for in one go is sent in one command, whoever asks. */
  async read(lookups: readonly SharedLookup[]): Promise<SharedRead[]> {
    if (this.#trusted !== 'yes') await this.#trust()
    if (lookups.length === 1) return [await this.#enqueue(lookups[0] as SharedLookup)]
    return Promise.all(lookups.map((lookup) => this.#enqueue(lookup)))
  }

  #enqueue(lookup: SharedLookup): Promise<SharedRead> {
    return new Promise((resolve, reject) => {
      if (this.#asked.push({ lookup, resolve, reject }) === 1) queueMicrotask(() => this.#flush())
    })
  }

  #flush(): void {
    const asked = this.#asked
    this.#asked = []
    for (let from = 0; from < asked.length; from += readsPerCall) void this.#read(asked.slice(from, from + readsPerCall))
  }

  async #read(asked: readonly Question[]): Promise<void> {
    const keys: string[] = []
    const args: (string | number)[] = [this.#fullPrefix, this.#format, 0, this.#versionLifeMs]
    for (const { lookup } of asked) {
      const { key, lease } = lookup
      keys.push(`${this.#prefix}e:${key}`)
      args.push(lease ? `${Math.floor(lease.earlyMs)} ${lease.token} ${listOf(lease.tags)}` : '')
      if (lease) args[2] = lease.leaseMs
    }
    try {
      const answer = this.#binary ? await readScript.runBinary(this.#client, keys, args) : await readScript.run(this.#client, keys, args)
      const reply = answer as (string | Buffer | number | null)[]
      const position = String(reply.at(-1))
      const faults = Number(reply.at(-2))
      for (let left = faults; left > 0; left--) this.#onFault('a key of l2 did not hold what it should and was removed')
      for (const [index, { resolve }] of asked.entries()) {
        const entry = reply[index * 3] as string | Buffer | null
        const lease = (['none', 'held', 'taken'] as const)[reply[index * 3 + 2] as number] ?? 'none'
        if (entry === null) resolve({ body: undefined, freshMs: -1, tags: [], lease, position })
        else resolve({ ...parse(entry, reply[index * 3 + 1] as number), lease, position })
      }
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }

  async fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<boolean> {
    if (this.#trusted !== 'yes') await this.#trust()
    return (await fillScript.run(this.#client, this.#keys(write.key), [...this.#args(write), write.token, write.position])) === 1
  }

  async write(write: SharedWrite): Promise<void> {
    if (this.#trusted !== 'yes') await this.#trust()
    await writeScript.run(this.#client, this.#keys(write.key), this.#args(write))
  }

  async renew(keys: readonly string[], token: string, leaseMs: number, yielded: boolean): Promise<void> {
    await renewScript.run(this.#client, this.#leases(keys), [token, leaseMs, yielded ? 1 : 0])
  }

  async release(keys: readonly string[], token: string): Promise<void> {
    await releaseScript.run(this.#client, this.#leases(keys), [token])
  }

  async invalidate(what: Invalidation): Promise<void> {
    if (this.#trusted !== 'yes') await this.#trust()
    const tags = listOf(what.all ? ['', ...what.tags] : what.tags)
    const calls: Promise<unknown>[] = []
    for (let from = 0; from === 0 || from < what.keys.length; from += keysPerCall) {
      const names = what.keys.slice(from, from + keysPerCall).flatMap((key) => [`${this.#prefix}e:${key}`, `${this.#prefix}l:${key}`])
      // A cluster finds the node by a key.
      if (names.length === 0) names.push(`${this.#prefix}none`)
      calls.push(invalidateScript.run(this.#client, names, [this.#fullPrefix, from === 0 ? tags : '']))
    }
    await Promise.all(calls)
  }

  async ping(): Promise<void> {
    await this.#client.ping()
    await this.#trust()
  }

  async close(): Promise<void> {
    clearInterval(this.#guarding)
    for (const event of ['close', 'ready', '+node']) this.#client.off(event, this.#distrust)
    if (this.#owned) this.#client.disconnect()
  }

  async #trust(): Promise<void> {
    if (this.#trusted === 'yes') return
    if (this.#trusted === undefined) {
      const trusted: Promise<void> = guardScript.run(this.#client, [`${this.#prefix}r`], [this.#fullPrefix]).then(
        () => {
          if (this.#trusted === trusted) this.#trusted = 'yes'
        },
        (error: unknown) => {
          if (this.#trusted === trusted) this.#trusted = undefined
          throw error
        },
      )
      this.#trusted = trusted
    }
    await this.#trusted
  }

  #keys(key: string): string[] {
    return [`${this.#prefix}e:${key}`]
  }

  #leases(keys: readonly string[]): string[] {
    return keys.map((key) => `${this.#prefix}l:${key}`)
  }

  #args(write: SharedWrite): (string | number | Buffer)[] {
    const retainMs = Math.max(1, Math.ceil(write.retainMs))
    this.#versionLifeMs = Math.max(leastVersionLifeMs, retainMs)
    const staleMs = Math.floor(write.retainMs - write.freshMs)
    const body = typeof write.body === 'string' ? write.body : Buffer.from(write.body.buffer, write.body.byteOffset, write.body.byteLength)
    return [this.#fullPrefix, this.#format, body, listOf(write.tags), retainMs, staleMs]
  }
}

function listOf(tags: readonly string[]): string {
  return tags.length === 0 ? '' : JSON.stringify(tags)
}

/** The script has checked the form of the first line. */
function parse(entry: string | Buffer, remainingMs: number): Pick<SharedRead, 'body' | 'freshMs' | 'tags'> {
  const line = entry.indexOf('\n')
  const head = typeof entry === 'string' ? entry.slice(0, line) : entry.toString('utf8', 0, line)
  const body = typeof entry === 'string' ? entry.slice(line + 1) : entry.subarray(line + 1)
  const stale = head.indexOf(' ') + 1
  const version = head.indexOf(' ', stale) + 1
  const list = head.indexOf(' ', version) + 1
  const tags = list === head.length ? [] : (JSON.parse(head.slice(list)) as string[]).filter((_, index) => index % 2 === 0)
  return { body, freshMs: remainingMs - Number(head.slice(stale, version - 1)), tags }
}
