import { testRabbitmq } from '@platform/stack/testing'
import amqp, { type ChannelModel, type ConfirmChannel } from 'amqplib'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker, type BrokerOptions } from '../../index.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'
import { expiryLooks, expiryQueue } from './names.ts'

const patience = { timeout: 30_000, interval: 10 }
const destination = 'film.sold.v1'

describe('groups that expire on rabbitmq', { timeout: 90_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let raw: ChannelModel
  let channel: ConfirmChannel
  let brokers: Broker[] = []

  const open = (options: Partial<BrokerOptions> = {}): Broker => {
    const broker = createBroker({ driver: rabbitmq({ urls: [vhost.url] }), service: 'expiry', ...options })
    brokers.push(broker)
    return broker
  }
  const tell = async (note: unknown): Promise<void> => {
    channel.sendToQueue(expiryLooks, Buffer.from(typeof note === 'string' ? note : JSON.stringify(note)))
    await channel.waitForConfirms()
  }
  /** The last look at a group that nobody came back to; its note is the only one. */
  const lastLook = (group: string): Promise<void> => tell({ destination, group, expiresAfterMs: 60_000, absent: 8 })

  beforeAll(async () => {
    vhost = await testRabbitmq()
    raw = await amqp.connect(vhost.url)
    channel = await raw.createConfirmChannel()
  })
  afterEach(async () => {
    await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await raw?.close()
    await vhost?.close()
  })

  it('lets who subscribes while the group is removed be a member of what comes after it', async () => {
    let removed = 0
    const [publisher, other] = [open({ onGroupExpired: () => void (removed += 1) }), open({ onGroupExpired: () => void (removed += 1) })]
    const seen: number[] = []
    for (let n = 0; n < 12; n += 1) {
      const group = `racing-${n}`
      const join = (broker: Broker) =>
        broker.consume(sold, async ({ body }) => void seen.push(body.n), {
          group,
          ordered: n % 2 === 1,
          groupExpiresAfterMs: n % 3 === 0 ? undefined : 60_000,
        })
      await (await other.consume(sold, async () => {}, { group, ordered: n % 2 === 1, groupExpiresAfterMs: 60_000 })).close()
      await channel.purgeQueue(expiryQueue(destination, group))
      const looking = lastLook(group)
      // Somewhere between before it and after it.
      await new Promise((resolve) => setTimeout(resolve, (n % 4) * 12))
      const consumer = await join(n % 4 < 2 ? other : open())
      await looking
      await publisher.publish(sold, { film: 'a', n })
      await vi.waitFor(() => expect(seen).toContain(n), patience)
      await consumer.close()
    }
    // Some were removed and some were not: the race was on.
    expect(removed).toBeGreaterThan(0)
  })

  it('drops notes that are none, or of groups that are not to go, and goes on', async () => {
    const broker = open()
    const seen: number[] = []
    await (await broker.consume(sold, async ({ body }) => void seen.push(body.n), { group: 'kept' })).close()
    for (const note of ['', '{', 'null', '[]', { destination: '../x', group: 'kept', expiresAfterMs: 1, absent: 99 }]) await tell(note)
    await tell({ destination, group: 'kept', expiresAfterMs: 1, absent: 99 })
    await tell({ destination: 'never.was.v1', group: 'kept', expiresAfterMs: 1, absent: 99 })
    await vi.waitFor(async () => expect(await channel.checkQueue(expiryLooks)).toMatchObject({ messageCount: 0 }), patience)
    await broker.publish(sold, { film: 'a', n: 1 })
    await broker.consume(sold, async ({ body }) => void seen.push(body.n), { group: 'kept' })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
  })
})
