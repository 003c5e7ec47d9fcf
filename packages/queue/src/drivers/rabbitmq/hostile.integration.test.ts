import { testRabbitmq } from '@platform/stack/testing'
import amqp, { type ChannelModel, type ConfirmChannel } from 'amqplib'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { createBroker, defineMessage, type Broker, type Message } from '../../index.ts'
import { rabbitmq } from '../rabbitmq.ts'

const patience = { timeout: 30_000, interval: 20 }
type Numbered = Message<{ n: number }>

describe('a broker that others use and change as well', { timeout: 60_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let foreign: ChannelModel
  let channel: ConfirmChannel
  let brokers: Broker[] = []
  let names = 0
  const open = (options: Partial<Parameters<typeof createBroker>[0]> = {}, driver: object = {}): Broker => {
    const made = createBroker({ driver: rabbitmq({ urls: [vhost.url], ...driver }), service: 'test', ...options })
    brokers.push(made)
    return made
  }
  const numbered = (): Numbered => {
    names += 1
    return defineMessage(`hostile.${names}`, { version: 1, schema: z.object({ n: z.number() }), key: ({ n }) => `key-${n % 3}` })
  }
  const exchangeOf = ({ name }: Numbered): string => `platform/${name}.v1`

  beforeAll(async () => {
    vhost = await testRabbitmq()
    foreign = await amqp.connect(vhost.url)
    channel = await foreign.createConfirmChannel()
  })
  afterEach(async () => {
    await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await foreign?.close()
    await vhost?.close()
  })

  it.each([false, true])('makes dead letters of what it cannot understand, whatever it is, and goes on (ordered: %s)', async (ordered) => {
    const seed = Date.now() % 1_000_000
    let state = seed
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
      return state % below
    }
    const oddities: unknown[] = [
      null,
      true,
      -1,
      3.5,
      2 ** 53,
      '',
      'x',
      'a'.repeat(300),
      '\0',
      '\ud800',
      {},
      { a: [1] },
      [],
      ['platform'],
      Buffer.from([0, 255]),
    ]
    const odd = (): unknown => oddities[random(oddities.length)]
    const faults: unknown[] = []
    const note = (fault: unknown): void => void faults.push(fault)
    process.on('unhandledRejection', note)
    const message = numbered()
    const broker = open()
    const seen = new Set<number>()
    await broker.consume(message, async ({ body }) => void seen.add(body.n), { group: 'g', ordered, retry: { maxAttempts: 2 } })
    const facts = ['version', 'published-at', 'key', 'counted', 'shown', 'reason', 'dead-at', 'replays', 'control', 'headers']
    const total = 150
    for (let n = 0; n < total; n += 1) {
      const headers = Object.fromEntries(facts.filter(() => random(2) === 0).map((fact) => [`x-platform-${fact}`, odd()]))
      const options = {
        headers: { ...headers, odd: odd() },
        ...(random(2) === 0 ? { messageId: 'a'.repeat(random(200)) } : {}),
        ...(random(2) === 0 ? { type: random(2) === 0 ? 'platform.control' : message.name } : {}),
        ...(random(3) === 0 ? { timestamp: random(1_000_000) } : {}),
      }
      const body = random(2) === 0 ? Buffer.from('{"n":') : Buffer.from(Array.from({ length: random(40) }, () => random(256)))
      if (random(2) === 0) channel.publish(exchangeOf(message), '', body, options)
      else channel.publish('', `${exchangeOf(message)}/g`, body, options)
      if (n % 15 === 0) await broker.publish(message, { n })
    }
    await channel.waitForConfirms()
    await vi.waitFor(() => expect(seen.size, `seed ${seed}`).toBe(total / 15), patience)
    const dead = broker.deadLetters(message, 'g')
    await vi.waitFor(async () => expect(await dead.count(), `seed ${seed}`).toBe(total), patience)
    expect(new Set((await dead.list({ limit: total })).map(({ reason }) => reason.split(':')[0])), `seed ${seed}`).toEqual(
      new Set(['invalid']),
    )
    process.off('unhandledRejection', note)
    expect(faults).toEqual([])
  })

  it('delivers a message of every name that can be defined', async () => {
    const message = defineMessage('platform.control', { version: 1, schema: z.object({ n: z.number() }), key: () => 'K' })
    const broker = open()
    const seen: number[] = []
    await broker.consume(message, async ({ body }) => void seen.push(body.n), { group: 'g', ordered: true })
    await broker.publish(message, { n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
  })

  it('carries headers whose names are orders to the broker', async () => {
    const message = numbered()
    const broker = open({
      outbound: [(headers) => void Object.assign(headers, { CC: 'all', bcc: 'none', 'x-death': 'no', 'x-platform-key': 'mine' })],
    })
    const seen: object[] = []
    await broker.consume(message, async ({ headers, key }) => void seen.push({ ...headers, key }), { group: 'g' })
    await Promise.all([1, 2, 3].map((n) => broker.publish(message, { n })))
    await vi.waitFor(() => expect(seen).toHaveLength(3), patience)
    expect(seen).toContainEqual({ CC: 'all', bcc: 'none', 'x-death': 'no', 'x-platform-key': 'mine', key: 'key-1' })
  })

  it('refuses a body that is too large alone', async () => {
    const message = defineMessage('hostile.large', { version: 1, schema: z.object({ text: z.string() }) })
    const broker = open({}, { maxMessageBytes: 10_000 })
    await broker.consume(message, async () => {}, { group: 'g' })
    const publish = (length: number): Promise<unknown> =>
      broker.publish(message, { text: 'x'.repeat(length) }).then(
        () => 'ok',
        (error: { code: string }) => error.code,
      )
    expect(await Promise.all([10, 20_000, 10, 10].map(publish))).toEqual(['ok', 'ERR_QUEUE_REFUSED', 'ok', 'ok'])
  })

  it('restores an exchange, a queue and a queue for dead letters that somebody deletes, and tells of it', async () => {
    const message = numbered()
    const warnings: string[] = []
    const logger = { debug() {}, info() {}, error() {}, warn: (_fields: object, text?: string) => void warnings.push(text ?? '') }
    const consuming = open({ logger })
    const publishing = open()
    const seen: number[] = []
    await consuming.consume(
      message,
      async ({ body }) => {
        seen.push(body.n)
        if (body.n < 0) throw new Error('bad')
      },
      { group: 'g', retry: { maxAttempts: 1 } },
    )
    await channel.deleteExchange(exchangeOf(message))
    await vi.waitFor(() => publishing.publish(message, { n: 1 }), patience)
    await vi.waitFor(() => expect(seen).toContain(1), patience)

    await channel.deleteQueue(`${exchangeOf(message)}/g/dead`)
    for (const n of [-1, 2, 3]) await publishing.publish(message, { n })
    await vi.waitFor(() => expect(seen).toContain(3), patience)
    await vi.waitFor(async () => expect(await publishing.deadLetters(message, 'g').count()).toBe(1), patience)

    await channel.deleteQueue(`${exchangeOf(message)}/g`)
    await vi.waitFor(async () => {
      await publishing.publish(message, { n: 4 })
      expect(seen).toContain(4)
    }, patience)
    await vi.waitFor(async () => expect(await consuming.check()).toBeUndefined(), patience)
    expect(warnings.length).toBeGreaterThan(0)
  })

  it.each(['postponed', 'buried'])('delivers again what cannot be %s, says so, and goes on with others meanwhile', async (what) => {
    names += 1
    const schema = z.object({ n: z.number(), text: z.string() })
    const message = defineMessage(`hostile.${names}`, { version: 1, schema })
    // Every copy of the long one is refused, wherever it is to go.
    const consuming = open({}, { maxMessageBytes: 1_024 })
    const attempts: number[] = []
    const others: number[] = []
    await consuming.consume(
      message,
      async ({ body, attempt }) => {
        if (body.n > 0) return void others.push(body.n)
        attempts.push(attempt)
        if (attempts.length < 3) throw new Error('not yet')
      },
      { group: 'g', concurrency: 2, retry: { maxAttempts: what === 'buried' ? 1 : 5 } },
    )
    const publishing = open()
    await publishing.publish(message, { n: 0, text: 'x'.repeat(2_000) })
    await vi.waitFor(() => expect(attempts).toHaveLength(1), patience)
    await publishing.publish(message, { n: 1, text: '' })
    await vi.waitFor(async () => expect(await consuming.check()).toMatchObject({ status: 'warn' }), patience)
    await vi.waitFor(() => expect(attempts).toEqual([1, 2, 3]), patience)
    await vi.waitFor(() => expect(others).toEqual([1]), patience)
    await vi.waitFor(async () => expect(await consuming.check()).toBeUndefined(), patience)
  })

  it('keeps the number of wait queues small however many groups retry', async () => {
    const messages = Array.from({ length: 8 }, numbered)
    const broker = open()
    let failed = 0
    for (const message of messages) {
      const fail = async (): Promise<void> => {
        failed += 1
        throw new Error('again')
      }
      await broker.consume(message, fail, { group: 'g', retry: { maxAttempts: 4, initialDelayMs: 20, maxDelayMs: 60 } })
      await broker.publish(message, { n: 1 })
    }
    await vi.waitFor(() => expect(failed).toBe(8 * 4), patience)
    const waits = []
    for (const ttl of [16, 20, 24, 28, 32, 40, 48, 56, 64]) {
      const probe = await foreign.createChannel()
      probe.on('error', () => {})
      await probe.checkQueue(`platform/wait/${ttl}`).then(
        () => waits.push(ttl),
        () => {},
      )
    }
    expect(waits.length).toBeGreaterThan(0)
    const probe = await foreign.createChannel()
    probe.on('error', () => {})
    await expect(probe.checkQueue(`${exchangeOf(messages[0] as Numbered)}/g/wait/16`)).rejects.toThrow(/404/)
  })
})
