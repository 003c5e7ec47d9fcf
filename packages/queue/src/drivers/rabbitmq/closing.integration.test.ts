import { setImmediate as nextTurn } from 'node:timers/promises'
import { faultProxy } from '@platform/stack'
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

  const open = (url: string = vhost.url): Broker => {
    const broker = createBroker({ driver: rabbitmq({ urls: [url] }), service: 'closing' })
    brokers.push(broker)
    return broker
  }
  /** Ids of what the queue of a group hands out before a message that is published now: what comes again goes first. */
  const comesAgain = async (group: string): Promise<string[]> => {
    const ids: string[] = []
    const channel = await raw.createChannel()
    await open().publish(sold, { film: 'last', n: 0 }, { id: 'last' })
    await channel.consume(groupName(destination, group), (message) => void ids.push(message?.properties.messageId as string))
    await vi.waitFor(() => expect(ids).toContain('last'), patience)
    await channel.close()
    return ids.filter((id) => id !== 'last').toSorted()
  }
  /** A member of a plain group that has so many messages in its handlers, and was told to take no more; what it had before it has done. */
  const memberAtWork = async (url: string, group: string, inHand: number, before = 0) => {
    const publisher = open()
    const member = open(url)
    const began: string[] = []
    const gates: (() => void)[] = []
    const handler = async ({ id, body }: { id: string; body: { n: number } }): Promise<void> => {
      began.push(id)
      if (body.n >= before) await new Promise<void>((resolve) => gates.push(resolve))
    }
    const consumer = await member.consume(sold, handler, { group, concurrency: inHand })
    const ids = Array.from({ length: before + inHand }, (_, n) => `${group}-${n}`)
    await Promise.all(ids.map((id, n) => publisher.publish(sold, { film: 'a', n }, { id })))
    await vi.waitFor(() => expect(gates).toHaveLength(inHand), patience)
    await consumer.quiesce()
    return { consumer, gates, held: began.slice(before).toSorted() }
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

  it('of a group without order hears of nothing again that it has handled, however late it did', async () => {
    const { consumer, gates } = await memberAtWork(vhost.url, 'clean', 1_000)
    const closing = consumer.close()
    // The first to come is the last to be done: so many acknowledgements cannot be said as one, and right before the channel they are lost with it.
    const [first, ...others] = gates
    for (const open of others) open()
    await nextTurn()
    first?.()
    await closing
    expect(await comesAgain('clean')).toEqual([])
  })

  it('of a group without order has handed over what it did not begin before it is gone, though a handler ends while it stops', async () => {
    await using proxy = await faultProxy(vhost.url)
    const group = 'handed-over'
    const gate = Promise.withResolvers<void>()
    const ids = Array.from({ length: 20 }, (_, n) => `${group}-${n}`)
    const begun: string[] = []
    const handler = async ({ id }: { id: string }): Promise<void> => {
      begun.push(id)
      await gate.promise
    }
    const member = open(proxy.url)
    const consumer = await member.consume(sold, handler, { group, concurrency: 1, prefetch: 20 })
    await Promise.all(ids.map((id, n) => member.publish(sold, { film: 'a', n }, { id })))
    const channel = await raw.createChannel()
    const waiting = async (): Promise<number> => (await channel.checkQueue(groupName(destination, group))).messageCount
    await vi.waitFor(async () => expect([await waiting(), begun.length]).toEqual([0, 1]), patience)
    // The copies take a second more than an answer of the broker: they have a connection of their own.
    proxy.delay(200)
    proxy.throttle(6_000, { direction: 'to-server' })
    const closing = consumer.close()
    gate.resolve()
    await closing
    proxy.restore()
    expect(await comesAgain(group)).toEqual(ids.filter((id) => !begun.includes(id)).toSorted())
    await channel.close()
  })

  it('of a group without order and is cut off meanwhile leaves behind what it had in hand, and nothing that it had done before', async () => {
    await using proxy = await faultProxy(vhost.url)
    const { consumer, gates, held } = await memberAtWork(proxy.url, 'cut', 20, 200)
    const closing = consumer.close()
    for (const open of gates) open()
    await nextTurn()
    proxy.cut()
    await closing
    expect(await comesAgain('cut')).toEqual(held)
  })
})
