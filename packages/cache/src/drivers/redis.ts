import type { Redis } from 'ioredis'
import type { SharedDriver, SharedLookup, SharedRead, SharedStore, SharedWrite } from '../driver.ts'
import type { Invalidation } from '../invalidation.ts'
import { fail } from '../options.ts'
import { redisConnection, type RedisConnectionOptions } from './redis-connection.ts'
import { fillScript, invalidateScript, readScript, releaseScript, renewScript, writeScript } from './redis-scripts.ts'

export { redisBus, type RedisBusOptions } from '../buses/redis.ts'
export type { RedisConnectionOptions } from './redis-connection.ts'

/** Changes when the layout of an entry does: entries of another layout are misses. */
const layout = '1'
/** A version that expires makes entries of its tag count as changed: too early costs a load, never a stale read. */
const leastTagLifeMs = 86_400_000
/** Arguments of one script call stay far below Lua's stack limit. */
const keysPerCall = 500

/** l2 in Redis 6.2 or newer, or Valkey; one primary, not a Redis Cluster. */
export function redis(options: RedisConnectionOptions): SharedDriver {
  const connection = redisConnection('redis', options)
  let opened = false
  return {
    name: 'redis',
    layer: 'shared',
    open({ namespace, format, onError }) {
      if (opened) fail('redis: this driver belongs to another cache already; make one per cache')
      opened = true
      const { client, owned } = connection.open(onError)
      return new RedisStore(client, owned, namespace, `${layout}:${format}`)
    },
  }
}

class RedisStore implements SharedStore {
  readonly #client: Redis
  readonly #owned: boolean
  readonly #prefix: string
  readonly #common: readonly [format: string, tagPrefix: string]
  /** Grows to twice the longest retention seen. */
  #tagLifeMs = leastTagLifeMs

  constructor(client: Redis, owned: boolean, namespace: string, format: string) {
    this.#client = client
    this.#owned = owned
    this.#prefix = `${namespace}:`
    // Keys that a script builds itself do not get the client's keyPrefix.
    this.#common = [format, `${client.options.keyPrefix ?? ''}${namespace}:t:`]
  }

  /** Sent together, without waiting: ioredis writes them in one go and Redis answers in one. */
  read(lookups: readonly SharedLookup[]): Promise<SharedRead[]> {
    return Promise.all(lookups.map((lookup) => this.#read(lookup)))
  }

  async #read({ key, lease }: SharedLookup): Promise<SharedRead> {
    const args = [...this.#common, this.#tagLifeMs, lease?.token ?? '', lease?.leaseMs ?? 0, withNamespace(lease?.tags ?? [])]
    const reply = (await readScript.run(this.#client, this.#keys(key), args)) as [string | null, number, number, string, number, string]
    const [body, freshMs, retainMs, tags, held, position] = reply
    return {
      body: body ?? undefined,
      freshMs: Number(freshMs),
      retainMs: Number(retainMs),
      tags: (JSON.parse(tags) as string[]).filter((tag) => tag !== ''),
      lease: (['none', 'held', 'taken'] as const)[Number(held)] ?? 'none',
      position,
    }
  }

  async fill(write: SharedWrite & { readonly token: string; readonly position: string }): Promise<boolean> {
    const times = this.#times(write)
    const args = [...this.#common, this.#tagLifeMs, write.token, write.body, withNamespace(write.tags), ...times, write.position]
    return Number(await fillScript.run(this.#client, this.#keys(write.key), args)) === 1
  }

  async write(write: SharedWrite): Promise<void> {
    const times = this.#times(write)
    await writeScript.run(this.#client, this.#keys(write.key), [
      ...this.#common,
      this.#tagLifeMs,
      write.body,
      withNamespace(write.tags),
      ...times,
    ])
  }

  async renew(key: string, token: string, leaseMs: number): Promise<boolean> {
    return Number(await renewScript.run(this.#client, [`${this.#prefix}l:${key}`], [token, leaseMs])) === 1
  }

  async release(key: string, token: string): Promise<void> {
    await releaseScript.run(this.#client, [`${this.#prefix}l:${key}`], [token])
  }

  async invalidate(what: Invalidation): Promise<void> {
    const tags = JSON.stringify(what.all ? ['', ...what.tags] : what.tags)
    const calls: Promise<unknown>[] = []
    for (let from = 0; from === 0 || from < what.keys.length; from += keysPerCall) {
      const keys = what.keys.slice(from, from + keysPerCall).flatMap((key) => [`${this.#prefix}e:${key}`, `${this.#prefix}l:${key}`])
      const args = [...this.#common, this.#tagLifeMs, from === 0 ? tags : '[]']
      calls.push(invalidateScript.run(this.#client, [`${this.#prefix}p`, ...keys], args))
    }
    await Promise.all(calls)
  }

  async ping(): Promise<void> {
    await this.#client.ping()
  }

  async close(): Promise<void> {
    if (this.#owned) this.#client.disconnect()
  }

  #keys(key: string): string[] {
    return [`${this.#prefix}e:${key}`, `${this.#prefix}l:${key}`, `${this.#prefix}p`]
  }

  #times(write: SharedWrite): [retainMs: number, staleMs: number] {
    const retainMs = Math.max(1, Math.ceil(write.retainMs))
    this.#tagLifeMs = Math.max(this.#tagLifeMs, retainMs * 2)
    return [retainMs, Math.floor(write.retainMs - write.freshMs)]
  }
}

/** Every entry carries the empty tag: changing it clears the namespace. */
function withNamespace(tags: readonly string[]): string {
  return JSON.stringify(['', ...tags])
}
