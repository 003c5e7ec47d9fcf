import { sentinelOptions } from '@film-store/film-contracts/sentinels'
import type { RedisConnectionOptions } from '@platform/cache/redis'
import { Redis } from 'ioredis'
import type { Settings } from './config.ts'

/** One Redis by its URL, or whichever leads by the sentinels' word: then the client is ours to disconnect. Undefined without either. */
export function redisConnection({ redisUrl, sentinels }: Settings['cache']): RedisConnectionOptions | undefined {
  if (redisUrl === undefined) return undefined
  const url = redisUrl.reveal()
  if (sentinels === undefined) return { url }
  const client = new Redis({
    ...sentinelOptions(url, sentinels),
    // What cannot be asked now is out of date when it could: the cache goes on without.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 2_000,
  })
  // The cache tells what a failure means.
  client.on('error', () => {})
  return { client }
}
