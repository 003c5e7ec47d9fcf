import { startRabbitmq } from '@platform/stack'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { endChildren } from '../../testing/child.ts'
import { describeQueueDriver } from '../../testing/driver-contract.ts'
import { feedPoison } from '../../testing/poison.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'

const patience = { timeout: 200_000, interval: 250 }

/** What is on the machine is 3.10. The other generations come as containers: what the film store runs on, and 4.3. */
describe.each(['rabbitmq:4-management', 'rabbitmq:4.3-management'])('%s', { timeout: 300_000 }, (image) => {
  const start = (): ReturnType<typeof startRabbitmq> => startRabbitmq({ image, fresh: true, startTimeoutMs: 180_000 })

  describeQueueDriver({ describe, it, expect, beforeAll, afterAll, afterEach }, image, async () => {
    const server = await start()
    return { driver: () => rabbitmq({ urls: [server.url] }), close: () => server.stop() }
  })

  describe('under faults', () => {
    let server: Awaited<ReturnType<typeof start>>
    let brokers: Broker[] = []
    const open = (): Broker => {
      const broker = createBroker({ driver: rabbitmq({ urls: [server.url] }), service: 'tiers' })
      brokers.push(broker)
      return broker
    }
    beforeAll(async () => {
      server = await start()
    })
    afterEach(async () => {
      await endChildren()
      await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
      brokers = []
    })
    afterAll(async () => {
      await server?.stop()
    })

    it.each([false, true])('convicts the message that kills its process, and none that ran beside it (ordered: %s)', async (ordered) => {
      const { audit, dead } = await feedPoison(open(), server.url, ordered)
      expect(dead).toEqual(['sale-1'])
      expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    })

    it.each([false, true])(
      'takes a message from a handler that outlives the consumer timeout, and goes on (ordered: %s)',
      async (ordered) => {
        const { username, password, origin } = splitCredentials(server.managementUrl)
        const policy = await fetch(`${origin}/api/policies/%2F/impatient`, {
          method: 'PUT',
          headers: { authorization: `Basic ${btoa(`${username}:${password}`)}`, 'content-type': 'application/json' },
          body: JSON.stringify({ pattern: '/impatient-', 'apply-to': 'queues', definition: { 'consumer-timeout': 10_000 } }),
        })
        expect(policy.status).toBeLessThan(300)
        const group = `impatient-${ordered}`
        const broker = open()
        const attempts: number[] = []
        const reasons: unknown[] = []
        await broker.consume(
          sold,
          async ({ body, attempt }, { signal }) => {
            if (body.n > 0) return
            attempts.push(attempt)
            if (attempts.length > 1) return
            await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
            reasons.push(signal.reason)
          },
          { group, ordered },
        )
        await broker.publish(sold, { film: 'a', n: 0 })
        await vi.waitFor(() => expect(attempts).toHaveLength(2), patience)
        expect(reasons).toEqual([expect.objectContaining({ code: 'ERR_QUEUE_LEASE_LOST' })])
        const later = await broker.publish(sold, { film: 'a', n: 1 })
        expect(later.id).toBeDefined()
        await vi.waitFor(async () => expect(await broker.check()).toBeUndefined(), patience)
        expect(await broker.deadLetters(sold, group).count()).toBe(0)
      },
    )
  })
})

function splitCredentials(url: string): { username: string; password: string; origin: string } {
  const { username, password, origin } = new URL(url)
  return { username, password, origin }
}
