import type { ConnectionOptions } from 'node:tls'
import { integerOption, knownOptions } from '@platform/kernel'
import type { Cluster, Redis } from 'ioredis'
import { refuse, wrong } from '../../validation.ts'

interface CommonOptions {
  /** What all keys begin with. Services that share messages share it. 1 to 60 of A-Z a-z 0-9 . _ : -, default `platform-queue`. */
  prefix?: string | undefined
  /** A larger message, as it travels, is refused before it is sent. Default 16,777,216, 1,024 to 268,435,456. */
  maxMessageBytes?: number | undefined
}

export type RedisOptions = CommonOptions &
  (
    | {
        /** An ioredis client, of one server, Sentinels or a Cluster: the driver makes two connections like it and leaves this one alone. Its `keyPrefix` is not used. */
        client: Redis | Cluster
      }
    | {
        /** redis://… or rediss://… Redis 7 or later. */
        url: string
        /** For rediss: what node:tls takes, for instance `ca`. */
        tls?: ConnectionOptions | undefined
      }
  )

export interface ResolvedRedisOptions {
  readonly server: { readonly client: Redis | Cluster } | { readonly url: string; readonly tls: ConnectionOptions | undefined }
  readonly prefix: string
  readonly maxMessageBytes: number
}

export function resolveRedisOptions(options: RedisOptions): ResolvedRedisOptions {
  const common = ['prefix', 'maxMessageBytes']
  const lent = typeof options === 'object' && options !== null && 'client' in options
  knownOptions(refuse, '', options, lent ? ['client', ...common] : ['url', 'tls', ...common])
  const prefix = options.prefix ?? 'platform-queue'
  if (typeof prefix !== 'string' || !/^[A-Za-z0-9._:-]{1,60}$/.test(prefix)) throw wrong('prefix: 1 to 60 of A-Z a-z 0-9 . _ : -')
  return {
    server: serverOf(options),
    prefix,
    maxMessageBytes: integerOption(refuse, 'maxMessageBytes', options.maxMessageBytes ?? 16_777_216, 1_024, 268_435_456),
  }
}

function serverOf(options: RedisOptions): ResolvedRedisOptions['server'] {
  if ('client' in options) {
    if (typeof options.client?.duplicate !== 'function') throw wrong('client: an ioredis client')
    return { client: options.client }
  }
  if (typeof options.url !== 'string' || !/^rediss?:\/\//.test(options.url) || !URL.canParse(options.url)) {
    throw wrong('url: redis://… or rediss://…')
  }
  return { url: options.url, tls: options.tls }
}
