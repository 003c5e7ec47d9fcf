import { createHash } from 'node:crypto'
import { Redis } from 'ioredis'
import { fail } from '../options.ts'

/** A client that is lent is never closed; with a URL the connection is ours. */
export type RedisConnectionOptions = { client: Redis } | { url: string }

const reconnectMaxDelayMs = 1_000

/** Checked when the driver is made, opened when its cache is. */
export function redisConnection(
  name: string,
  options: RedisConnectionOptions,
): { open(onError: (error: unknown) => void): { client: Redis; owned: boolean } } {
  const known = 'client' in options ? ['client'] : ['url']
  for (const option of Object.keys(options)) if (!known.includes(option)) fail(`${name}: unknown option ${option}`)
  if ('client' in options) {
    const { client } = options
    if (typeof client?.evalsha !== 'function') fail(`${name}: client must be an ioredis client`)
    return { open: () => ({ client, owned: false }) }
  }
  if (typeof options.url !== 'string' || !/^rediss?:\/\//.test(options.url)) fail(`${name}: url must begin with redis:// or rediss://`)
  const { url } = options
  return { open: (onError) => ({ client: connectTo(url, onError), owned: true }) }
}

function connectTo(url: string, onError: (error: unknown) => void): Redis {
  return watched(new Redis(url, settings), onError)
}

/** A second connection like this one, ours to close. */
export function sibling(client: Redis, onError: (error: unknown) => void): Redis {
  return watched(client.duplicate({ ...settings, autoResubscribe: false, lazyConnect: false }), onError)
}

/** Fails at once while there is no connection instead of queueing commands that would be out of date when they run. */
const settings = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 2_000,
  retryStrategy: (times: number): number => Math.min(reconnectMaxDelayMs, 50 * 2 ** Math.min(times, 6)) * (0.5 + Math.random() / 2),
} as const

function watched(client: Redis, onError: (error: unknown) => void): Redis {
  return client.on('error', onError)
}

/** A Lua script, sent by its digest and once in full where the server does not know it. Does not touch the client's commands. */
export class LuaScript {
  readonly #source: string
  readonly #digest: string

  constructor(source: string) {
    this.#source = source
    this.#digest = createHash('sha1').update(source).digest('hex')
  }

  async run(client: Redis, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await client.evalsha(this.#digest, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return client.eval(this.#source, keys.length, ...keys, ...args)
    }
  }
}
