import { testRedis } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { describeQueueDriver } from '../../testing/index.ts'
import { redis } from '../redis.ts'

describeQueueDriver({ describe, it, expect, beforeAll, afterAll, afterEach }, 'redis', async () => {
  const database = await testRedis()
  return { driver: () => redis({ url: database.url }), close: () => database.close() }
})
