/** A test of an application, for vitest and for jest: both give `test` and `expect`. */
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { createBroker, defineMessage } from '@platform/queue'
import { memory as queueInMemory } from '@platform/queue/memory'
import { createLogger } from '@platform/logger'
import { z } from 'zod'

test('an application that uses the packages can be tested', async () => {
  const cache = createCache({ namespace: 'tests', l1: memory({ maxBytes: 1e6 }), ttlMs: 1000 })
  expect(await cache.getOrSet('key', async () => 1)).toBe(1)
  await cache.close()
  const broker = createBroker({ driver: queueInMemory(), service: 'tests' })
  const message = defineMessage('tests.done', { version: 1, schema: z.object({ id: z.number() }) })
  const handled = new Promise((resolve) => broker.consume(message, async ({ body }) => resolve(body.id), { group: 'tests' }))
  await broker.publish(message, { id: 7 })
  expect(await handled).toBe(7)
  await broker.close()
  await createLogger({ name: 'tests', level: 'silent' }).close()
})
