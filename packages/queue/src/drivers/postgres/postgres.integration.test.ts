import { testPostgres } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { describeQueueDriver } from '../../testing/index.ts'
import { postgres } from '../postgres.ts'

describeQueueDriver({ describe, it, expect, beforeAll, afterAll, afterEach }, 'postgresql', async () => {
  const database = await testPostgres()
  return { driver: () => postgres({ url: database.url }), close: () => database.close() }
})
