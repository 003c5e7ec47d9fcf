import { testRabbitmq } from '@platform/stack/testing'
import amqp, { type ChannelModel, type ConfirmChannel, type ConsumeMessage } from 'amqplib'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FrameWriter } from './frame-writer.ts'
import { boundOf, writePublish } from './publish-frames.ts'
import type { Target, WireMessage } from './wire.ts'

const patience = { timeout: 20_000, interval: 20 }

/** Repeatable: a failure prints its seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

describe('frames of our own', { timeout: 60_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let raw: ChannelModel
  let channel: ConfirmChannel
  const arrived: ConsumeMessage[] = []

  beforeAll(async () => {
    vhost = await testRabbitmq()
    raw = await amqp.connect(`${vhost.url}?frameMax=8192`)
    channel = await raw.createConfirmChannel()
    await channel.assertQueue('ünï')
    await channel.consume('ünï', (message) => void arrived.push(message as ConsumeMessage), { noAck: true })
  })
  afterAll(async () => {
    await raw?.close()
    await vhost?.close()
  })

  it('say to the broker what the client says, whatever the message', async () => {
    const seed = Date.now() % 1_000_000
    const random = randomOf(seed)
    const pick = <T>(...from: readonly T[]): T => from[random(from.length)] as T
    const text = (most: number): string =>
      Array.from({ length: random(most) }, () => pick('a', 'Z', '0', 'é', '漢', '🎬', '\u0001')).join('')
    const number = (): number => pick(0, 1, -1, 127, 128, 2 ** 31, -(2 ** 31) - 1, 1_700_000_000_123, Number.MAX_SAFE_INTEGER, 1.5, -0.1)
    const headers = (): Record<string, unknown> =>
      Object.fromEntries(
        Array.from({ length: random(8) }, (_, at) => [`h${at}${text(9)}`, pick<unknown>(text(300), number(), { inner: text(20) })]),
      )
    const frames = FrameWriter.of(channel) as FrameWriter
    const message = (): WireMessage => ({
      content: Buffer.alloc(pick(0, 1, 1_000, 8_183, 8_184, 8_185, 40_000), random(256)),
      options: {
        persistent: pick(true, false),
        headers: headers(),
        mandatory: true,
        ...pick<object>({}, { messageId: text(40), type: text(40), correlationId: '7' }),
        ...pick<object>({}, { contentType: 'application/json', timestamp: 1_700_000_000, expiration: '60000', CC: 'elsewhere' }),
      },
    })
    const target = { exchange: '', routingKey: 'ünï' }
    const said = Array.from({ length: 200 }, message)
    for (const each of said) {
      await new Promise((resolve) => channel.publish('', 'ünï', each.content, each.options, resolve))
      await new Promise((resolve) => frames.publish(target, each, resolve))
    }
    await vi.waitFor(() => expect(arrived).toHaveLength(2 * said.length), patience)
    for (let n = 0; n < said.length; n += 1) {
      const [theirs, ours] = arrived.slice(2 * n, 2 * n + 2) as [ConsumeMessage, ConsumeMessage]
      expect({ seed, n, properties: ours.properties, content: ours.content }).toEqual({
        seed,
        n,
        properties: theirs.properties,
        content: theirs.content,
      })
    }
  })

  it('never write more than was reckoned, and refuse what cannot be said without sending a part of it', async () => {
    const target: Target = { exchange: 'é'.repeat(85), routingKey: '漢'.repeat(85) }
    const message: WireMessage = {
      content: Buffer.alloc(50_000),
      options: {
        headers: { ['é'.repeat(127)]: '漢'.repeat(5_000), n: { m: ['🎬', 1.5] } },
        messageId: '漢'.repeat(85),
        type: 'é'.repeat(127),
        CC: ['漢'.repeat(85)],
      },
    }
    const bound = boundOf(target, message, 4_096)
    expect(writePublish(Buffer.alloc(bound), 0, { channel: 1, frameMax: 4_096, target, message })).toBeLessThanOrEqual(bound)
    const frames = FrameWriter.of(channel) as FrameWriter
    const to = { exchange: '', routingKey: 'ünï' }
    for (const options of [{ messageId: '漢'.repeat(86) }, { headers: { a: null } }, { headers: { a: () => {} } }]) {
      expect(() => frames.publish(to, { content: Buffer.alloc(1), options }, () => {})).toThrow(/bytes|header/)
    }
    await new Promise((resolve) => frames.publish(to, { content: Buffer.from('last'), options: {} }, resolve))
    await vi.waitFor(() => expect(arrived.at(-1)?.content.toString()).toBe('last'), patience)
  })

  it('that have not left when their channel ends never do, and the connection goes on', async () => {
    const ending = await raw.createConfirmChannel()
    const frames = FrameWriter.of(ending) as FrameWriter
    const target = { exchange: '', routingKey: 'ünï' }
    frames.publish(target, { content: Buffer.from('late'), options: {} }, () => {})
    frames.end()
    await ending.close()
    await new Promise((resolve) => channel.publish('', 'ünï', Buffer.from('after'), {}, resolve))
    await vi.waitFor(() => expect(arrived.at(-1)?.content.toString()).toBe('after'), patience)
    expect(arrived.map(({ content }) => content.toString())).not.toContain('late')
  })
})
