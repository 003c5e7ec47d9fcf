import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Batch, Delivery } from './delivery.ts'

afterEach(() => {
  vi.useRealTimers()
})

it('an outage of hours does not make it grow, however often one name is given', async () => {
  vi.useFakeTimers()
  let away = true
  const sent: Batch[] = []
  const delivery = new Delivery({
    timeoutMs: 500,
    send: async (what) => {
      sent.push(what as Batch)
      if (away) throw new Error('away')
      return true
    },
    onDelivered: () => undefined,
    onRefused: () => undefined,
  })
  const told: unknown[] = []
  for (let second = 0; second < 3_600; second++) {
    delivery.add({ keys: ['k', `k${second % 10}`], tags: ['t'], all: false }).catch((error: unknown) => told.push(error))
    await vi.advanceTimersByTimeAsync(1_000)
  }
  expect(told).toHaveLength(3_600)
  expect(delivery.size).toBe(12)
  expect(sent.at(-1)?.items.length).toBeLessThan(10)
  away = false
  await vi.advanceTimersByTimeAsync(2_000)
  expect(delivery.size).toBe(0)
  expect(sent.at(-1)).toMatchObject({ keys: expect.arrayContaining(['k', 'k0', 'k9']) as string[], tags: ['t'] })
  delivery.close(new Error('closed'))
})

it('a tag that gave way to the whole namespace was under way all the same for who read meanwhile', async () => {
  const answer = Promise.withResolvers<boolean>()
  const delivery = new Delivery({ timeoutMs: 60_000, send: () => answer.promise, onDelivered: () => undefined, onRefused: () => undefined })
  const add = (what: { keys?: string[]; tags?: string[] }): Promise<unknown> => delivery.add({ keys: [], tags: [], all: false, ...what })
  const first = add({ keys: ['sent at once'] })
  const queued = add({ tags: ['t'] })
  const meanwhile = delivery.pending()
  const many = add({ keys: Array.from({ length: 10_001 }, (_, index) => `k${index}`) })
  answer.resolve(true)
  await Promise.all([first, queued, many])
  expect(delivery.mayPredate(meanwhile, 't')).toBe(true)
  expect(delivery.mayPredate(delivery.pending(), 't')).toBe(false)
})

describe('whether it takes all', () => {
  const named = (key: string) => ({ keys: [key], tags: [], all: false })

  /** What is sent is answered by the test, in turn. */
  function byHand() {
    const sent: PromiseWithResolvers<boolean>[] = []
    const delivery = new Delivery({
      timeoutMs: 60_000,
      send: () => {
        const answer = Promise.withResolvers<boolean>()
        sent.push(answer)
        return answer.promise
      },
      onDelivered: () => undefined,
      onRefused: () => undefined,
    })
    const add = (key: string): void => void delivery.add(named(key)).catch(() => undefined)
    const take = async (index: number): Promise<void> => {
      await expect.poll(() => sent.length).toBeGreaterThan(index)
      sent[index]?.resolve(true)
    }
    return { delivery, sent, add, take }
  }

  it('is known when what is being sent has been taken, and what is queued behind it', async () => {
    const { delivery, sent, add, take } = byHand()
    expect(await delivery.takesAll()).toBe(true)
    add('a')
    const first = delivery.takesAll()
    add('b')
    let known = false
    const both = delivery.takesAll().finally(() => (known = true))
    await take(0)
    expect(await first).toBe(true)
    await expect.poll(() => sent.length).toBe(2)
    expect(known).toBe(false)
    await take(1)
    expect(await both).toBe(true)
    delivery.close(new Error('closed'))
  })

  it('is no for all who wait when an attempt fails, and for who comes until one does not', async () => {
    const { delivery, sent, add, take } = byHand()
    add('a')
    const sending = delivery.takesAll()
    add('b')
    const queued = delivery.takesAll()
    sent[0]?.reject(new Error('away'))
    expect(await Promise.all([sending, queued])).toEqual([false, false])
    expect(await delivery.takesAll()).toBe(false)
    delivery.retryNow()
    await expect.poll(() => sent.length).toBe(2)
    expect(await delivery.takesAll()).toBe(false)
    add('c')
    await take(1)
    await expect.poll(() => sent.length).toBe(3)
    const back = delivery.takesAll()
    await take(2)
    expect(await back).toBe(true)
    delivery.close(new Error('closed'))
  })

  it('is no at close', async () => {
    const { delivery, add } = byHand()
    add('a')
    const sending = delivery.takesAll()
    add('b')
    const queued = delivery.takesAll()
    delivery.close(new Error('closed'))
    expect(await Promise.all([sending, queued, delivery.takesAll()])).toEqual([false, false, false])
  })
})
