import type { QueueDriver } from '@platform/queue'
import { postgres } from '@platform/queue/postgres'
import { rabbitmq } from '@platform/queue/rabbitmq'

export function queueDriver(settings: { driver: 'postgres' | 'rabbitmq'; url: { reveal(): string } }): QueueDriver {
  const url = settings.url.reveal()
  return settings.driver === 'rabbitmq' ? rabbitmq({ urls: [url] }) : postgres({ url })
}
