import { createHash } from 'node:crypto'
import type { ConnectionOptions } from 'node:tls'
import { guarded, knownOptions } from '@platform/kernel'
import { type Cluster, Redis } from 'ioredis'
import { CacheError, withoutRequest, wrongOption } from '../errors.ts'

export type RedisLike = Redis | Cluster

/** A client that is lent (a Redis or a Cluster, keyPrefix and all) is never closed; with a URL the connection is ours. */
export type RedisConnectionOptions =
  | { client: RedisLike }
  | {
      /** redis://… or rediss://… */
      url: string
      /** For rediss: what node:tls takes, for instance `ca`. */
      tls?: ConnectionOptions | undefined
    }

const reconnectMaxDelayMs = 1_000

export interface RedisConnection {
  /** The same of connections to one server, as far as is known: those of one URL, and those over one client. None in a cluster, where a command that is sent again elsewhere may be overtaken by the next one. */
  readonly server: symbol | undefined
  open(onError: (error: unknown) => void): { client: RedisLike; owned: boolean }
}

/** Checked when the driver is made, opened when its cache is. */
export function redisConnection(name: string, options: RedisConnectionOptions): RedisConnection {
  knownOptions(wrongOption, name, options, 'client' in options ? ['client'] : ['url', 'tls'])
  if ('client' in options) {
    const { client } = options
    if (typeof client?.evalsha !== 'function') throw wrongOption(`${name}.client`, 'must be an ioredis client')
    return { server: 'nodes' in client ? undefined : serverOf(serversByClient, client), open: () => ({ client, owned: false }) }
  }
  const { url, tls } = options
  if (!isRedisUrl(url)) throw wrongOption(`${name}.url`, 'must be a URL that begins with redis:// or rediss://')
  return {
    server: serverOf(serversByUrl, url),
    open: (onError) => ({ client: watched(new Redis(url, tls ? { ...settings, tls } : settings), onError), owned: true }),
  }
}

const serversByClient = new WeakMap<RedisLike, symbol>()
const serversByUrl = new Map<string, symbol>()

function serverOf<K>(known: { get(given: K): symbol | undefined; set(given: K, server: symbol): unknown }, given: K): symbol {
  const server = known.get(given) ?? Symbol('redis')
  known.set(given, server)
  return server
}

/** Whether the client can take it apart: it would throw an error that quotes the URL, password and all. */
function isRedisUrl(url: unknown): url is string {
  if (typeof url !== 'string' || !/^rediss?:\/\//.test(url) || !URL.canParse(url)) return false
  const { username, password } = new URL(url)
  return guarded(() => decodeURIComponent(username + password)) !== undefined
}

/** A second connection like this one, ours to close. */
export function sibling(client: RedisLike, onError: (error: unknown) => void): RedisLike {
  if ('nodes' in client) return watched(client.duplicate([], { lazyConnect: false, clusterRetryStrategy: settings.retryStrategy }), onError)
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

/** ioredis hears one error of each connection. TLS may have a second one when it is closed amid its handshake, and an error that nobody hears ends the process. */
function watched<T extends RedisLike>(client: T, onError: (error: unknown) => void): T {
  client.on('error', onError)
  if (client instanceof Redis) client.on('connecting', () => setImmediate(() => client.stream?.on('error', () => undefined)))
  return client
}

/** What an answer of the server begins with when it is not there for us now, but will be. */
const passing =
  /^(?:ERR Error running script.* -)?(LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|UNBLOCKED|ERR max number of clients)/

/**
 * The error without the command that ioredis attaches, whose arguments are keys and values. A refusal is what the server will answer again: no
 * memory, no permission, a wrong type.
 */
export function plain(error: unknown): unknown {
  const cause = withoutRequest(error)
  if (!(error instanceof Error) || error.name !== 'ReplyError') return cause
  return passing.test(error.message)
    ? new CacheError('ERR_CACHE_UNAVAILABLE', undefined, { cause })
    : new CacheError('ERR_CACHE_REFUSED', undefined, { cause })
}

export async function publish(client: RedisLike, channel: string, payload: string): Promise<void> {
  try {
    await client.publish(channel, payload)
  } catch (error) {
    throw plain(error)
  }
}

type Arguments = readonly (string | number | Buffer)[]

/** A Lua script, sent by its digest and once in full where the server does not know it. Does not touch the client's commands. */
export class LuaScript {
  readonly #source: string
  readonly #digest: string

  constructor(source: string) {
    this.#source = source
    this.#digest = createHash('sha1').update(source).digest('hex')
  }

  /** A function is asked for the arguments each time that they are sent. */
  async run(client: RedisLike, keys: readonly string[], args: Arguments | (() => Arguments)): Promise<unknown> {
    const now = typeof args === 'function' ? args : (): Arguments => args
    try {
      return await client.evalsha(this.#digest, keys.length, ...keys, ...now())
    } catch (error) {
      return this.#again(error, () => client.eval(this.#source, keys.length, ...keys, ...now()))
    }
  }

  /** Best effort: a user may lack the right to. */
  async load(client: RedisLike): Promise<void> {
    await client.script('LOAD', this.#source).catch(() => undefined)
  }

  /** Texts of the answer as bytes. In small letters: older clients know only those as commands with keys. */
  async runBinary(client: RedisLike, keys: readonly string[], args: Arguments): Promise<unknown> {
    try {
      return await client.callBuffer('evalsha', this.#digest, keys.length, ...keys, ...args)
    } catch (error) {
      return this.#again(error, () => client.callBuffer('eval', this.#source, keys.length, ...keys, ...args))
    }
  }

  async #again(error: unknown, full: () => Promise<unknown>): Promise<unknown> {
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw plain(error)
    try {
      return await full()
    } catch (second) {
      throw plain(second)
    }
  }
}
