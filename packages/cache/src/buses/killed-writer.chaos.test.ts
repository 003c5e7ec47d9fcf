import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startRedis } from '@platform/stack'
import { expect, it } from 'vitest'
import { cachesWith } from '../caches.fixture.ts'
import { memory } from '../drivers/memory.ts'
import { redis, redisBus } from '../drivers/redis.ts'
import type { Cache } from '../index.ts'

const writers = 12
const keys = Array.from({ length: 1_000 }, (_, key) => `k${key}`)
const program = join(import.meta.dirname, 'killed-writer.fixture.ts')
const cacheWith = cachesWith(() => ({ namespace: 'killed', ttlMs: 600_000, l2HardTimeoutMs: 10_000 }))

it('a writer that is killed at any moment leaves no copy of what it has taken out of l2', { timeout: 120_000 }, async () => {
  const server = await startRedis({ fresh: true })
  const { url } = server
  let [written, left] = [0, 0]
  for (let writer = 0; writer < writers; writer++) {
    const namespace = `killed-${writer}`
    const reader = cacheWith({ namespace, l1: memory({ maxBytes: 1e7 }), l2: redis({ url }), bus: redisBus({ url, heartbeatMs: 5_000 }) })
    const truth = cacheWith({ namespace, l2: redis({ url }) })
    await reader.ready()
    await reader.getOrSetMany(keys, (missing) => new Map(missing.map((key) => [key, 'old'])))
    const child = fork(program, [url, namespace, String(keys.length)], { execArgv: ['--conditions=@platform/source'] })
    const ended = once(child, 'exit')
    await once(child, 'message')
    await pause(Math.random() * 30)
    child.kill('SIGKILL')
    await ended
    const valuesOf = (cache: Cache): Promise<unknown[]> => Promise.all(keys.map((key) => cache.get(key)))
    const differing = async (): Promise<string[]> => {
      const [inL2, read] = [await valuesOf(truth), await valuesOf(reader)]
      return keys.filter((_, index) => inL2[index] !== read[index])
    }
    await expect.poll(differing, { timeout: 10_000 }).toEqual([])
    const inL2 = await valuesOf(truth)
    left += inL2.filter((value) => value === 'old').length
    written += inL2.filter((value) => value !== 'old').length
  }
  console.info(`${writers} writers killed: ${written} keys written, ${left} not`)
  expect(Math.min(written, left)).toBeGreaterThan(0)
  await server.stop()
})
