import { startRedis } from '@platform/stack'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { endChildren, startChild } from '../../testing/child.ts'
import { feedPoison } from '../../testing/poison.ts'
import { sold } from '../../testing/sold.ts'
import { redis } from '../redis.ts'

const patience = { timeout: 90_000, interval: 50 }

/** What takes leases of ten seconds. */
describe('redis driver and processes that die', { timeout: 240_000 }, () => {
  let server: Awaited<ReturnType<typeof startRedis>>
  let brokers: Broker[] = []
  const broker = (): Broker => {
    const made = createBroker({ driver: redis({ url: server.url }), service: 'long' })
    brokers.push(made)
    return made
  }
  beforeAll(async () => {
    server = await startRedis({ fresh: true })
  })
  afterEach(async () => {
    await endChildren()
    await Promise.all(brokers.map((made) => made.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await server?.stop()
  })

  it('convicts the message that kills its process, and none that ran beside it, in order', async () => {
    const { audit, dead, deaths } = await feedPoison(broker(), server.url, true)
    expect(dead).toEqual(['sale-1'])
    expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    // One death that may have had many reasons, then two alone.
    expect(deaths).toBeLessThanOrEqual(3)
  })

  it('delivers again what a killed process held, when its lease has run out, as the second attempt', async () => {
    const own = broker()
    const child = startChild('stuck-consumer.ts', server.url)
    await vi.waitFor(() => expect(child.lines).toContain('subscribed'), patience)
    await own.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(child.lines).toContain('started'), patience)
    const attempts: number[] = []
    await own.consume(sold, async ({ attempt }) => void attempts.push(attempt), { group: 'shop' })
    await child.kill()
    await vi.waitFor(() => expect(attempts).toEqual([2]), patience)
  })
})
