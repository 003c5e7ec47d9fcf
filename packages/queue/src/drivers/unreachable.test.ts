import { describe, expect, it } from 'vitest'
import { createBroker } from '../index.ts'
import { sold } from '../testing/sold.ts'
import { postgres } from './postgres.ts'
import { rabbitmq } from './rabbitmq.ts'
import { redis } from './redis.ts'

// Port 1 of the loopback refuses.
const drivers = [
  () => postgres({ url: 'postgres://nobody@127.0.0.1:1/none' }),
  () => rabbitmq({ urls: ['amqp://127.0.0.1:1'] }),
  () => redis({ url: 'redis://127.0.0.1:1' }),
]

describe('a server that was never there', () => {
  it.each(drivers)('makes calls wait for their deadline or signal only, and does not hold the close', async (driver) => {
    const broker = createBroker({ driver: driver(), service: 'test', publishTimeoutMs: 200 })
    const reason = new Error('the caller left')
    const abort = new AbortController()
    const consuming = broker.consume(sold, async () => {}, { group: 'g', signal: abort.signal })
    const readying = broker.ready({ signal: abort.signal })
    setTimeout(() => abort.abort(reason), 50)
    await expect(consuming).rejects.toBe(reason)
    await expect(readying).rejects.toBe(reason)
    await expect(broker.publish(sold, { film: 'a', n: 1 })).rejects.toMatchObject({ code: 'ERR_QUEUE_TIMEOUT' })
    await expect(broker.check()).rejects.toMatchObject({ code: 'ERR_QUEUE_UNAVAILABLE' })
    const waiting = broker.publish(sold, { film: 'a', n: 2 }).catch((error: unknown) => error)
    const startedAt = performance.now()
    await broker.close({ timeoutMs: 20_000 })
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    expect(await waiting).toHaveProperty('code')
  })

  it.each([
    () => postgres({ url: 'mysql://x' }),
    () => postgres({ url: 'postgres://x', schema: 'A-b' }),
    () => postgres({ url: 'postgres://x', poolSize: 3 } as never),
    () => rabbitmq({ urls: [] }),
    () => rabbitmq({ urls: ['amqp://x'], username: 'alone' }),
    () => redis({ url: 'http://x' }),
    () => redis({ url: 'redis://x', prefix: '{x}' }),
    () => redis({ url: 'redis://x', schema: 'x' } as never),
    () => redis({ client: {} as never }),
  ])('refuses wrong options', (make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_QUEUE_OPTION' }) as Error)
  })
})
