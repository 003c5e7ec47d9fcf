import type { QueueDriver } from '../driver.ts'
import { postgres } from '../drivers/postgres.ts'
import { rabbitmq } from '../drivers/rabbitmq.ts'
import { redis } from '../drivers/redis.ts'

/** For the processes of the chaos tests, which are told where the server is. */
export function driverAt(url: string): QueueDriver {
  if (url.startsWith('amqp')) return rabbitmq({ urls: [url] })
  return url.startsWith('redis') ? redis({ url }) : postgres({ url, pollIntervalMs: 100 })
}
