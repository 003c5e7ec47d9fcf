import { describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { memory } from './drivers/memory.ts'
import { createBroker, defineMessage, type OutgoingMessage } from './index.ts'
import { findIncompatible } from './testing/index.ts'

const v1 = defineMessage('order', { version: 1, schema: z.object({ film: z.string() }) })
const v2 = defineMessage('order', { version: 2, schema: z.object({ films: z.array(z.string()) }) })
const v3 = defineMessage('order', {
  version: 3,
  schema: z.object({ films: z.array(z.string()).min(1), gift: z.boolean() }),
  upcasters: {
    1: (body) => ({ films: [(body as { film: string }).film] }),
    2: (body) => ({ ...(body as { films: string[] }), gift: false }),
  },
})

describe('older versions of a message', () => {
  it('reach a consumer that has upcasters for them, one step after the other', async () => {
    await using broker = createBroker({ driver: memory(), service: 'versions' })
    const seen: object[] = []
    const consumer = await broker.consume(v3, async ({ body }) => void seen.push(body), { group: 'g', retry: { maxAttempts: 1 } })
    await broker.publish(v1, { film: 'M' })
    await broker.publish(v2, { films: ['Alien', 'Heat'] })
    await broker.publish(v3, { films: ['Ran'], gift: true })
    await vi.waitFor(() => expect(consumer.stats().processed).toBe(3))
    expect(seen).toContainEqual({ films: ['M'], gift: false })
    expect(seen).toContainEqual({ films: ['Alien', 'Heat'], gift: false })
    expect(seen).toContainEqual({ films: ['Ran'], gift: true })
    expect(await consumer.check()).toBeUndefined()
    await consumer.close()
    expect(broker.stats().consumers).toBe(0)
  })

  it('are dead letters of their own version when they cannot be brought up to date', async () => {
    await using broker = createBroker({ driver: memory(), service: 'versions' })
    const failing = defineMessage('order', {
      version: 2,
      schema: z.object({ films: z.array(z.string()) }),
      upcasters: {
        1: () => {
          throw new TypeError('no')
        },
      },
    })
    const consumer = await broker.consume(failing, async () => {}, { group: 'g' })
    await broker.publish(v1, { film: 'M' })
    await vi.waitFor(() => expect(consumer.stats().deadLettered).toBe(1))
    expect(await broker.deadLetters(failing, 'g').count()).toBe(0)
    const [letter] = await broker.deadLetters(v1, 'g').list()
    expect(letter?.reason).toBe('invalid body: the upcaster of version 1 failed (TypeError)')
  })

  it('may be brought up to date later, and whatever the upcaster throws makes a dead letter', async () => {
    const unhandled = vi.fn<(reason: unknown) => void>()
    process.on('unhandledRejection', unhandled)
    await using broker = createBroker({ driver: memory(), service: 'versions' })
    const hostile: object = new Proxy(new Error('x'), {
      get: () => {
        throw new Error('no')
      },
      getPrototypeOf: () => {
        throw new Error('no')
      },
    })
    const ways: (() => unknown)[] = [
      async () => 1,
      () => Promise.reject(new TypeError('no')),
      () => {
        throw hostile
      },
      () => Promise.reject(hostile as Error),
      () => {
        throw undefined
      },
      () => hostile,
    ]
    const numbers = defineMessage('number', { version: 1, schema: z.number() })
    const later = defineMessage('number', {
      version: 3,
      schema: z.string(),
      upcasters: { 1: (body) => ways[body as number]?.(), 2: async (body) => `${body as number}` },
    })
    const seen: string[] = []
    const consumer = await broker.consume(later, async ({ body }) => void seen.push(body), { group: 'g' })
    for (const way of ways.keys()) await broker.publish(numbers, way)
    await vi.waitFor(() => expect(consumer.stats()).toMatchObject({ processed: 1, deadLettered: ways.length - 1, inFlight: 0 }))
    expect(seen).toEqual(['1'])
    await new Promise(setImmediate)
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
  })

  it.each([
    [2, { 2: () => ({}) }],
    [3, { 1: () => ({}) }],
    [2, { 0: () => ({}), 1: () => ({}) }],
    [2, { 1: 'no' }],
    [2, { one: () => ({}) }],
  ])('need upcasters without gap: version %d, %o', (version, upcasters) => {
    const define = (): unknown => defineMessage('order', { version, schema: z.unknown(), upcasters: upcasters as never })
    expect(define).toThrow(expect.objectContaining({ code: 'ERR_QUEUE_OPTION', message: expect.stringMatching(/upcasters/) as string }))
  })

  it('are found by stored samples when a contract no longer reads them', async () => {
    await using broker = createBroker({ driver: memory(), service: 'versions' })
    const stored = JSON.stringify([
      await broker.prepare(v1, { film: 'M' }, { id: 's1' }),
      await broker.prepare(v2, { films: [] }, { id: 's2' }),
      await broker.prepare(defineMessage('other', { version: 1, schema: z.unknown() }), {}, { id: 's3' }),
      await broker.prepare(defineMessage('order', { version: 4, schema: z.unknown() }), {}, { id: 's4' }),
    ])
    const samples = JSON.parse(stored) as OutgoingMessage[]
    expect(await findIncompatible(v3, samples)).toEqual([
      { id: 's2', version: 2, reason: 'invalid body: films too_small' },
      { id: 's3', version: 1, reason: 'it is other' },
      { id: 's4', version: 4, reason: 'invalid version: 4, not 3' },
    ])
    expect(await findIncompatible(v2, samples.slice(0, 1))).toEqual([{ id: 's1', version: 1, reason: 'invalid version: 1, not 2' }])
  })
})
