import { durationOption } from '@platform/kernel'
import { publish, redisConnection, type RedisConnectionOptions, type RedisLike, sibling } from '../drivers/redis-connection.ts'
import { wrongOption } from '../errors.ts'
import type { BusTransport, InvalidationBus } from '../invalidation.ts'

export type RedisBusOptions = RedisConnectionOptions & {
  /** Default 1000, at least 50. A copy in l1 goes unconfirmed for at most three of them. */
  heartbeatMs?: number | undefined
}

/** Redis pub/sub. Subscribes on a connection of its own; publishes through the given client. Without client-side tracking of Redis. */
export function redisBus(options: RedisBusOptions): InvalidationBus {
  const { heartbeatMs = 1_000, ...rest } = options
  const connection = redisConnection('redisBus', rest as RedisConnectionOptions)
  let opened = false
  return {
    name: 'redis',
    maxPayloadBytes: 64_000,
    heartbeatMs: durationOption(wrongOption, 'redisBus.heartbeatMs', heartbeatMs, 50),
    open({ namespace, onMessage, onLost }) {
      if (opened) throw wrongOption('redisBus', 'belongs to another cache already; make one per cache')
      opened = true
      const { client, owned } = connection.open(() => undefined)
      const channel = `${namespace}:bus`
      const transport = subscribe(client, owned, channel, onMessage, onLost)
      return connection.server ? { ...transport, place: { server: connection.server, channel } } : transport
    },
  }
}

function subscribe(
  client: RedisLike,
  owned: boolean,
  channel: string,
  onMessage: (payload: string) => void,
  onLost: (cause: unknown) => void,
): BusTransport {
  let closed = false
  /** Its messages count from when the loss of all before has been told: an answer and a message may come in one go. */
  let subscribed = false
  const subscriber = sibling(client, () => undefined)
  subscriber.on('message', (_channel: string, payload: string) => {
    if (subscribed) onMessage(payload)
  })
  subscriber.on('close', () => {
    subscribed = false
    if (!closed) onLost('connection closed')
  })
  subscriber.on('ready', () => {
    subscriber.subscribe(channel).then(
      () => {
        if (closed) return
        subscribed = true
        onLost('subscribed anew')
      },
      // The connection is of no use without its subscription: a new one tries again.
      () => {
        if (!closed) subscriber.disconnect(true)
      },
    )
  })
  return {
    publish: (payload) => publish(client, channel, payload),
    close: async () => {
      closed = true
      subscriber.disconnect()
      if (owned) client.disconnect()
    },
  }
}
