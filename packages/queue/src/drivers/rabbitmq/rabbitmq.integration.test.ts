import { testRabbitmq } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { describeQueueDriver } from '../../testing/index.ts'
import { rabbitmq } from '../rabbitmq.ts'

describeQueueDriver({ describe, it, expect, beforeAll, afterAll, afterEach }, 'rabbitmq', async () => {
  const vhost = await testRabbitmq()
  return { driver: () => rabbitmq({ urls: [vhost.url] }), close: () => vhost.close() }
})
