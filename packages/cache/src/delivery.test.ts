import { afterEach, expect, it, vi } from 'vitest'
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
