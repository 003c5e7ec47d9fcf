import { EventEmitter } from 'node:events'
import type { Channel, ConsumeMessage } from 'amqplib'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { Generation } from './generation.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const delivery = (deliveryTag: number): ConsumeMessage => ({ fields: { deliveryTag } }) as unknown as ConsumeMessage

/** Writes down what the broker would hear. */
class Recorder extends EventEmitter {
  readonly heard: string[] = []
  deliver: (message: ConsumeMessage | null) => void = () => {}
  closing = false

  async consume(_queue: string, each: (message: ConsumeMessage | null) => void): Promise<{ consumerTag: string }> {
    this.deliver = each
    return { consumerTag: 'tag' }
  }
  ack({ fields }: ConsumeMessage, upTo = false): void {
    if (this.closing) throw new Error('Channel closing')
    this.heard.push(`ack ${upTo ? 'up to ' : ''}${fields.deliveryTag}`)
  }
  nack({ fields }: ConsumeMessage): void {
    this.heard.push(`requeue ${fields.deliveryTag}`)
  }
  async close(): Promise<void> {
    this.heard.push('close')
    this.emit('close')
  }
}

describe('acknowledgements of one turn', () => {
  let channel: Recorder
  let generation: Generation
  const delivered = (count: number): ConsumeMessage[] => {
    const messages = Array.from({ length: count }, (_, at) => delivery(at + 1))
    for (const message of messages) channel.deliver(message)
    return messages
  }
  beforeEach(async () => {
    channel = new Recorder()
    generation = new Generation(channel as unknown as Channel)
    await generation.consume('q', () => {})
  })

  it('leave as one, whatever their order', async () => {
    const [first, second, third] = delivered(4) as [ConsumeMessage, ConsumeMessage, ConsumeMessage]
    for (const message of [third, first, second]) generation.ack(message)
    expect(channel.heard).toEqual([])
    await turn()
    expect(channel.heard).toEqual(['ack up to 3'])
  })

  it('never speak for a message that is still in hand', async () => {
    const [first, second, third, fourth] = delivered(4) as [ConsumeMessage, ConsumeMessage, ConsumeMessage, ConsumeMessage]
    generation.ack(first)
    generation.ack(third)
    await turn()
    generation.ack(fourth)
    await turn()
    expect(channel.heard).toEqual(['ack 1', 'ack 3', 'ack 4'])
    generation.ack(second)
    await turn()
    expect(channel.heard.at(-1)).toBe('ack 2')
  })

  it('nor for one that went back', async () => {
    const [first, second, third] = delivered(3) as [ConsumeMessage, ConsumeMessage, ConsumeMessage]
    generation.requeue(second)
    generation.ack(first)
    generation.ack(third)
    await turn()
    expect(channel.heard).toEqual(['requeue 2', 'ack up to 3'])
  })

  it('leave before the channel is closed, and are refused from then on', async () => {
    const [first, second] = delivered(2) as [ConsumeMessage, ConsumeMessage]
    generation.ack(first)
    const closing = generation.close()
    expect(() => generation.ack(second)).toThrow(expect.objectContaining({ code: 'ERR_QUEUE_LEASE_LOST' }))
    await closing
    expect(channel.heard).toEqual(['ack 1', 'close'])
  })

  it('leave as few once the broker has ended the consumer: the channel may be closed right behind them', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const messages = delivered(6)
      generation.gather()
      for (const at of [1, 3, 5]) generation.ack(messages[at] as ConsumeMessage)
      await turn()
      expect(channel.heard).toEqual([])
      for (const at of [0, 2]) generation.ack(messages[at] as ConsumeMessage)
      vi.advanceTimersByTime(100)
      expect(channel.heard).toEqual(['ack up to 4', 'ack 6'])
      generation.ack(messages[4] as ConsumeMessage)
      await generation.close()
      expect(channel.heard.slice(2)).toEqual(['ack 5', 'close'])
    } finally {
      vi.useRealTimers()
    }
  })

  it('are forgotten with a channel that ends', async () => {
    const [first, second] = delivered(2) as [ConsumeMessage, ConsumeMessage]
    generation.ack(first)
    channel.emit('close')
    await turn()
    expect(channel.heard).toEqual([])
    expect(() => generation.ack(second)).toThrow(expect.objectContaining({ code: 'ERR_QUEUE_LEASE_LOST' }))
  })

  it('end no process when the client is closing the channel by itself', async () => {
    const [first] = delivered(1) as [ConsumeMessage]
    generation.ack(first)
    channel.closing = true
    await turn()
    expect(channel.heard).toEqual([])
  })
})
