import { backgroundInterval } from '@platform/kernel'
import type { Publisher, SharedDriver, SharedFill, SharedLookup, SharedRead, SharedStore, SharedWrite } from '../driver.ts'
import { wrongOption } from '../errors.ts'
import type { Invalidation, Telling } from '../invalidation.ts'
import { publish, redisConnection, type RedisConnectionOptions, type RedisLike } from './redis-connection.ts'
import { type Count, listOf, RedisReads } from './redis-reads.ts'
import { fillScript, guardScript, invalidateScript, releaseScript, renewScript, writeScript } from './redis-scripts.ts'

export { redisBus, type RedisBusOptions } from '../buses/redis.ts'
export type { RedisConnectionOptions, RedisLike } from './redis-connection.ts'

/** Changes when the layout of an entry does: entries of another layout are misses. */
const layout = '3'
/** Of versions made before it is known how long the entry will live. */
const leastVersionLifeMs = 60_000
/** Arguments of one script call stay far below Lua's stack limit. */
const keysPerCall = 500
/** Of a client: after each, another server may be there. */
const connectionEvents = ['close', 'ready', '+node']
/** A cluster does not tell when one of its nodes is another: it is asked. */
const clusterGuardMs = 1_000

/** l2 in Redis 6.2 or newer, or Valkey: one primary, or a cluster, in which a namespace lives in one slot. */
export function redis(options: RedisConnectionOptions): SharedDriver {
  const connection = redisConnection('redis', options)
  if ('client' in options && 'nodes' in options.client && (options.client.options.scaleReads ?? 'master') !== 'master')
    throw wrongOption('redis.client', "must have scaleReads 'master': a replica may not have heard of an invalidation yet")
  let opened = false
  return {
    name: 'redis',
    layer: 'shared',
    open({ namespace, format, binary, onError, onFault }) {
      if (opened) throw wrongOption('redis', 'belongs to another cache already; make one per cache')
      opened = true
      const { client, owned } = connection.open(onError)
      return new RedisStore(client, owned, namespace, connection.server, { format: `${layout}:${format}`, binary, onFault })
    },
  }
}

function isOne(count: Count): boolean {
  return Number(count) === 1
}

function told(telling: Telling | undefined, what: Invalidation): string[] {
  return telling ? [telling.channel, ...telling.messages(what)] : []
}

class RedisStore implements SharedStore {
  readonly publisher: Publisher | undefined
  readonly #client: RedisLike
  readonly #owned: boolean
  readonly #prefix: string
  /** Keys that a script builds itself do not get the client's keyPrefix. */
  readonly #fullPrefix: string
  readonly #format: string
  readonly #reads: RedisReads
  readonly #guarding: NodeJS.Timeout | undefined
  readonly #onConnection = (): void => {
    this.#trusted = undefined
    this.#reads.forgetServer()
  }
  /** Resolves once this connection's server is known to be the one that wrote last, or to have been cleared. */
  #trusted: Promise<void> | 'yes' | undefined
  #versionLifeMs = leastVersionLifeMs

  constructor(
    client: RedisLike,
    owned: boolean,
    namespace: string,
    server: symbol | undefined,
    options: { readonly format: string; readonly binary: boolean; onFault(fault: string): void },
  ) {
    this.#client = client
    this.publisher = server && { server, publish: (channel, payload) => publish(client, channel, payload) }
    this.#owned = owned
    this.#prefix = `{${namespace}}:`
    this.#fullPrefix = `${client.options.keyPrefix ?? ''}${this.#prefix}`
    this.#format = options.format
    this.#reads = new RedisReads({ ...options, client, prefix: this.#prefix, fullPrefix: this.#fullPrefix })
    // Every cache over a client listens to it: many on one are no leak.
    const most = client.getMaxListeners()
    if (most > 0) client.setMaxListeners(most + 1)
    for (const event of connectionEvents) client.on(event, this.#onConnection)
    if ('nodes' in client)
      this.#guarding = backgroundInterval(() => {
        this.#trusted = undefined
      }, clusterGuardMs)
  }

  read(lookups: readonly SharedLookup[]): Promise<SharedRead[]> {
    if (this.#trusted !== 'yes') return this.#trust().then(() => this.#reads.read(lookups, this.#versionLifeMs))
    return this.#reads.read(lookups, this.#versionLifeMs)
  }

  async fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<SharedFill> {
    if (this.#trusted !== 'yes') await this.#trust()
    const args = [...this.#args(write), write.token, write.position]
    const [stored, awaited] = (await fillScript.run(this.#client, this.#keys(write.key), args)) as [Count, Count]
    return { stored: isOne(stored), awaited: isOne(awaited) }
  }

  async write(write: SharedWrite, telling?: Telling): Promise<boolean> {
    if (this.#trusted !== 'yes') await this.#trust()
    const args = this.#args(write)
    const what = { keys: [write.key], tags: [], all: false }
    return isOne((await writeScript.run(this.#client, this.#keys(write.key), () => [...args, ...told(telling, what)])) as Count)
  }

  async renew(keys: readonly string[], token: string, leaseMs: number, yielded: boolean): Promise<void> {
    await renewScript.run(this.#client, this.#leases(keys), [token, leaseMs, yielded ? 1 : 0])
  }

  async release(keys: readonly string[], token: string): Promise<readonly string[]> {
    const awaited = (await releaseScript.run(this.#client, this.#leases(keys), [token])) as Count[]
    return keys.filter((_, index) => isOne(awaited[index] as Count))
  }

  async invalidate(what: Invalidation, telling?: Telling): Promise<boolean> {
    if (this.#trusted !== 'yes') await this.#trust()
    const tags = listOf(what.all ? ['', ...what.tags] : what.tags)
    const calls: Promise<unknown>[] = []
    for (let from = 0; from === 0 || from < what.keys.length; from += keysPerCall) {
      const keys = what.keys.slice(from, from + keysPerCall)
      const part = { keys, tags: from === 0 ? what.tags : [], all: from === 0 && what.all }
      const names = keys.flatMap((key) => [`${this.#prefix}e:${key}`, `${this.#prefix}l:${key}`])
      // A cluster finds the node by a key.
      if (names.length === 0) names.push(`${this.#prefix}none`)
      calls.push(invalidateScript.run(this.#client, names, () => [this.#fullPrefix, from === 0 ? tags : '', ...told(telling, part)]))
    }
    return ((await Promise.all(calls)) as Count[]).every(isOne)
  }

  async ping(): Promise<void> {
    await this.#client.ping()
    await this.#trust()
  }

  async close(): Promise<void> {
    clearInterval(this.#guarding)
    for (const event of connectionEvents) this.#client.off(event, this.#onConnection)
    const most = this.#client.getMaxListeners()
    if (most > 1) this.#client.setMaxListeners(most - 1)
    if (this.#owned) this.#client.disconnect()
  }

  async #trust(): Promise<void> {
    if (this.#trusted === 'yes') return
    if (this.#trusted === undefined) {
      const guarded = guardScript.run(this.#client, [`${this.#prefix}r`], [this.#fullPrefix])
      const trusted: Promise<void> = Promise.all([guarded, ...this.#loaded()]).then(
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

  /** What tells of itself is known to the server before it is first sent: sent twice, it would leave a hole in the numbers. */
  #loaded(): Promise<void>[] {
    return this.publisher ? [writeScript, invalidateScript].map((script) => script.load(this.#client)) : []
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
    const freshMs = Math.floor(write.freshMs)
    const body = typeof write.body === 'string' ? write.body : Buffer.from(write.body.buffer, write.body.byteOffset, write.body.byteLength)
    return [this.#fullPrefix, this.#format, body, listOf(write.tags), retainMs, freshMs]
  }
}
