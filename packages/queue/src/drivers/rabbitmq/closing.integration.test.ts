import { testRabbitmq } from '@platform/stack/testing'
import amqp, { type ChannelModel } from 'amqplib'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker, type Consumer } from '../../index.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'
import { groupName } from './names.ts'

const patience = { timeout: 30_000, interval: 20 }
const destination = 'film.sold.v1'

describe('a member that closes', { timeout: 60_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let raw: ChannelModel
  let brokers: Broker[] = []

  const open = (): Broker => {
    const broker = createBroker({ driver: rabbitmq({ urls: [vhost.url] }), service: 'closing' })
    brokers.push(broker)
    return broker
  }
  beforeAll(async () => {
    vhost = await testRabbitmq()
    raw = await amqp.connect(vhost.url)
  })
  afterEach(async () => {
    await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await raw?.close()
    await vhost?.close()
  })

  it('of an ordered group tells the next one what it has done, in case it comes again', async () => {
    const group = 'told'
    const handled: string[] = []
    const options = { group, ordered: true }
    const publisher = open()
    const publish = (id: string) => publisher.publish(sold, { film: id, n: 0 }, { id })
    const join = (): Promise<Consumer> => open().consume(sold, async ({ id }) => void handled.push(id), options)
    const first = await join()
    for (const id of ['a', 'b', 'c']) await publish(id)
    await vi.waitFor(() => expect(handled).toEqual(['a', 'b', 'c']), patience)
    await first.close()
    // As if the broker had not heard of two of them, and somebody had held another one: handed out once, and back again.
    for (const id of ['b', 'c', 'd']) await publish(id)
    const channel = await raw.createChannel()
    let held = 0
    await channel.consume(groupName(destination, group), () => void (held += 1))
    await vi.waitFor(() => expect(held).toBe(3), patience)
    await channel.close()
    // Published anew under its id it is a message like others.
    await publish('a')
    const second = await join()
    await vi.waitFor(() => expect(handled).toContain('a'), patience)
    await vi.waitFor(() => expect(handled).toHaveLength(5), patience)
    expect(handled).toEqual(['a', 'b', 'c', 'd', 'a'])
    await second.close()
  })
})
