import { afterEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { Batches } from './batches.ts'
import { memory } from './drivers/memory.ts'
import { createBroker, defineMessage, type Broker, type Inbox, type InboxContext } from './index.ts'

const line = defineMessage('line', { version: 1, schema: z.object({ n: z.number() }), key: ({ n }) => `k${n % 2}` })

describe('batch handlers', () => {
  let broker: Broker
  const open = (): Broker => (broker = createBroker({ driver: memory(), service: 'batches' }))
  afterEach(() => broker.close())

  it('get what arrives together, up to the size, and what is left after the wait', async () => {
    open()
    const batches: number[][] = []
    await broker.consume(line, async (deliveries) => void batches.push(deliveries.map(({ body }) => body.n)), {
      group: 'g',
      concurrency: 8,
      batch: { maxSize: 4, maxWaitMs: 30 },
    })
    for (const n of [0, 1, 2, 3, 4, 5]) await broker.publish(line, { n })
    await vi.waitFor(() => expect(batches.flat()).toHaveLength(6))
    expect(batches[0]).toEqual([0, 1, 2, 3])
    expect(batches.every(({ length }) => length <= 4)).toBe(true)
  })

  it('cost one bad message its own tries only', async () => {
    open()
    const done = new Map<number, number>()
    const attempts: number[] = []
    const consumer = await broker.consume(
      line,
      async (deliveries) => {
        for (const { body, attempt } of deliveries) if (body.n === 2) attempts.push(attempt)
        if (deliveries.some(({ body }) => body.n === 2)) throw new Error(`bad among ${deliveries.length}`)
        for (const { body } of deliveries) done.set(body.n, (done.get(body.n) ?? 0) + 1)
      },
      { group: 'g', concurrency: 8, batch: { maxSize: 4 }, retry: { maxAttempts: 2, initialDelayMs: 1, maxDelayMs: 1 } },
    )
    await Promise.all([0, 1, 2, 3].map((n) => broker.publish(line, { n })))
    await vi.waitFor(() => expect(consumer.stats()).toMatchObject({ processed: 3, retried: 1, deadLettered: 1 }))
    expect([...done].toSorted(([a], [b]) => a - b)).toEqual([
      [0, 1],
      [1, 1],
      [3, 1],
    ])
    // Once with the others and once alone at the first attempt; once alone at the second.
    expect(attempts).toEqual([1, 1, 2])
    const [letter] = await broker.deadLetters(line, 'g').list()
    expect(letter?.reason).toBe('failed 2 times, last: Error: bad among 1')
  })

  it('never hold two messages of a key that keeps its order', async () => {
    open()
    const batches: number[][] = []
    await broker.consume(line, async (deliveries) => void batches.push(deliveries.map(({ body }) => body.n)), {
      group: 'g',
      ordered: true,
      batch: { maxSize: 4, maxWaitMs: 5 },
    })
    for (const n of [0, 1, 2, 3, 4, 5]) await broker.publish(line, { n })
    await vi.waitFor(() => expect(batches.flat()).toHaveLength(6))
    for (const parity of [0, 1]) {
      expect(batches.every((batch) => batch.filter((n) => n % 2 === parity).length <= 1)).toBe(true)
      expect(batches.flat().filter((n) => n % 2 === parity)).toEqual([0, 2, 4].map((n) => n + parity))
    }
  })

  it('share one transaction, in which only what is new is handled', async () => {
    open()
    const known = new Set(['m1'])
    const tx: InboxContext['tx'] = { query: async () => [] }
    const inbox: Inbox = {
      name: 'fake',
      ready: async () => {},
      once: async () => true,
      async onceEach(_consumer, ids, work) {
        const fresh = new Set(ids.filter((id) => !known.has(id)))
        if (fresh.size > 0) await work(tx, fresh)
        for (const id of fresh) known.add(id)
        return fresh
      },
    }
    const handled: string[] = []
    const consumer = await broker.consume(
      line,
      async (deliveries, context) => {
        expect(context.tx).toBe(tx)
        handled.push(...deliveries.map(({ id }) => id))
      },
      { group: 'g', inbox, batch: { maxSize: 3 } },
    )
    // The last two are one message that was delivered twice.
    for (const id of ['m1', 'm2', 'm2']) await broker.publish(line, { n: 0 }, { id })
    await vi.waitFor(() => expect(consumer.stats()).toMatchObject({ processed: 3, duplicates: 2 }))
    expect(handled).toEqual(['m2'])
  })

  it('wait for nobody when the consumer takes no more', async () => {
    open()
    const handled: number[] = []
    const handler = async (deliveries: readonly object[]): Promise<void> => void handled.push(deliveries.length)
    const consumer = await broker.consume(line, handler, { group: 'g', batch: { maxSize: 5, maxWaitMs: 60_000 } })
    for (const n of [1, 2]) await broker.publish(line, { n })
    await vi.waitFor(() => expect(consumer.stats().inFlight).toBe(2))
    expect(handled).toEqual([])
    await consumer.drain()
    expect(handled).toEqual([2])
    expect(consumer.stats()).toMatchObject({ processed: 2, inFlight: 0 })
  })

  it('wait for nobody either when they begin after that', async () => {
    const batches = new Batches({ maxSize: 5, maxWaitMs: 60_000 }, async (items: readonly number[]) => items)
    open()
    expect(await batches.add(1, AbortSignal.abort())).toBe(1)
  })

  it.each([
    [{ maxSize: 1 }, /batch\.maxSize/],
    [{ maxSize: 11 }, /batch\.maxSize must be a whole number from 2 to 10/],
    [{ maxSize: 2, maxWait: 3 }, /batch\.maxWait is unknown/],
    [{ maxSize: 2, maxWaitMs: 0 }, /batch\.maxWaitMs/],
  ])('refuse %o', (batch, text) => {
    open()
    expect(() => broker.consumer(line, async () => {}, { group: 'g', batch: batch as never })).toThrow(text)
  })
})
