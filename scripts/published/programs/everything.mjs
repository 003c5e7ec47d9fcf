/**
 * An application that uses a little of every package, on real servers, and looks for the spans and metrics of each.
 * `recorder.mjs` beside it says where these go; WITHOUT_DISCOVERY leaves out what a runtime cannot do.
 */
import { strict as assert } from 'node:assert'
import { createServer } from 'node:http'
import { createCache } from '@platform/cache'
import { memory } from '@platform/cache/memory'
import { redis, redisBus } from '@platform/cache/redis'
import { defineConfig, env } from '@platform/config'
import { createDbPool } from '@platform/db-pool'
import { createDiscovery } from '@platform/discovery'
import { staticInstances } from '@platform/discovery/static'
import { createHealth } from '@platform/health'
import { createLogger } from '@platform/logger'
import { createBroker, defineMessage } from '@platform/queue'
import { rabbitmq } from '@platform/queue/rabbitmq'
import { redis as redisQueue } from '@platform/queue/redis'
import { createPolicy } from '@platform/resilience'
import { redisRateLimiter } from '@platform/resilience/redis'
import { createService } from '@platform/service'
import { z } from 'zod'
import { recorder } from './recorder.mjs'

async function main() {
  const { DATABASE_URL, REDIS_URL, AMQP_URL, WITHOUT_DISCOVERY } = process.env
  const expected = (names) => names.filter((name) => name !== 'discovery' || !WITHOUT_DISCOVERY)
  const record = recorder()
  const settings = defineConfig({ schema: z.object({ name: z.string(), port: z.coerce.number() }) })
  const config = await settings.load({ sources: [env({ prefix: 'APP', variables: { APP_NAME: 'consumer', APP_PORT: '80' } })] })
  assert.equal(config.current.port, 80)
  const logger = createLogger({ name: config.current.name, redact: { values: () => ['hidden'] } })
  logger.info('starts, with a %s secret', 'hidden')

  const db = createDbPool({ url: DATABASE_URL })
  assert.deepEqual((await db.query('select $1::int as n', [7])).rows, [{ n: 7 }])

  const namespace = `consumer-${process.pid}-${Date.now()}`
  const cache = createCache({ namespace, l1: memory({ maxBytes: 1e6 }), l2: redis({ url: REDIS_URL }), bus: redisBus({ url: REDIS_URL }), ttlMs: 1000 })
  assert.equal(await cache.getOrSet('key', async () => 'value'), 'value')

  const policy = createPolicy({ name: 'consumer', timeoutMs: 5000, retry: { maxAttempts: 3, initialDelayMs: 1 } })
  assert.equal(await policy.execute(async ({ attempt }) => (attempt < 2 ? Promise.reject(new Error('once')) : attempt)), 2)

  const message = defineMessage(`consumer.${Date.now()}`, { version: 1, schema: z.object({ id: z.string() }) })
  const broker = createBroker({ driver: rabbitmq({ urls: [AMQP_URL] }), service: namespace })
  const handled = Promise.withResolvers()
  const consumer = await broker.consume(message, async ({ body }) => handled.resolve(body.id), { group: namespace })
  await broker.publish(message, { id: 'a' })
  assert.equal(await handled.promise, 'a')

  const server = createServer((_, response) => response.end('film'))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const discovery = createDiscovery({ registry: staticInstances({ films: [`http://127.0.0.1:${server.address().port}`] }) })
  if (!WITHOUT_DISCOVERY) assert.equal(await (await discovery.client('films').fetch('/')).text(), 'film')

  const health = createHealth({ checks: { db: { run: (options) => db.check(options), kind: 'critical' } } })
  await health.ready()
  const service = createService({ name: 'consumer', components: { db }, logger })
  await service.start()

  const { spans, metrics } = await record.collect()
  const missing = expected(['cache', 'db-pool', 'discovery', 'health', 'logger', 'queue', 'resilience']).filter((name) => !metrics.has(`@platform/${name}`))
  assert.deepEqual(missing, [], 'packages without metrics')
  if (spans) {
    const silent = expected(['cache', 'db-pool', 'discovery', 'queue']).filter((name) => !spans.has(`@platform/${name}`))
    assert.deepEqual(silent, [], 'packages without spans')
  }

  await consumer.close()
  await service.stop()
  for (const each of [health, discovery, broker, cache, config, record, logger]) await each.close()
  server.close()
  for (const made of [redisRateLimiter, redisQueue]) assert.equal(typeof made, 'function')
  console.log('everything works')
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
