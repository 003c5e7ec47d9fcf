import { randomUUID } from 'node:crypto'
import { faultProxy } from '@platform/stack'
import { testRedis } from '@platform/stack/testing'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { resolveRedisOptions } from './options.ts'
import { WakeCalls } from './wake-calls.ts'

const patience = { timeout: 30_000, interval: 20 }
let place: Awaited<ReturnType<typeof testRedis>>
let caller: Redis

beforeAll(async () => {
  place = await testRedis()
  caller = new Redis(place.url)
})
afterAll(async () => {
  caller.disconnect()
  await place.close()
})

it('a sleeper is woken after a loss when it is heard again and not before: what is told from then on reaches it', async () => {
  await using proxy = await faultProxy(place.url)
  const calls = new WakeCalls(resolveRedisOptions({ url: proxy.url }), () => {})
  const channel = randomUUID()
  let woken = 0
  let wake = (): void => void (woken += 1)
  calls.on(channel, () => wake())
  await expect.poll(() => woken, patience).toBeGreaterThan(0)
  woken = 0
  wake = () => {
    woken += 1
    if (woken === 1) void caller.publish(channel, '')
  }
  proxy.cut()
  proxy.restore()
  // Whatever is sent when the connection stands arrives later than the call.
  proxy.delay(300)
  await expect.poll(() => woken, patience).toBe(2)
  calls.close()
})
