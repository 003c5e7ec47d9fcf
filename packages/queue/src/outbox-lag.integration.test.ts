import { createNoopMeter, metrics, type BatchObservableCallback, type Meter, type Observable } from '@opentelemetry/api'
import { createDbPool } from '@platform/db-pool'
import { testPostgres } from '@platform/stack/testing'
import { afterEach, expect, it, vi } from 'vitest'
import { memory } from './drivers/memory.ts'
import { createBroker, createOutbox, outboxSchema } from './index.ts'
import { sold } from './testing/sold.ts'

afterEach(() => metrics.disable())

it('tells how much waits while messages keep coming, when it is never done', async () => {
  const gauges = new Map<string, number>()
  const callbacks = new Set<BatchObservableCallback>()
  const meter = Object.assign(createNoopMeter(), {
    createObservableGauge: (name: string) => ({ name }),
    addBatchObservableCallback: (callback: BatchObservableCallback) => void callbacks.add(callback),
    removeBatchObservableCallback: (callback: BatchObservableCallback) => void callbacks.delete(callback),
  })
  metrics.setGlobalMeterProvider({ getMeter: () => meter as unknown as Meter })
  const observe = (gauge: Observable, value: number): void => void gauges.set((gauge as unknown as { name: string }).name, value)

  await using place = await testPostgres()
  await using db = createDbPool({ url: place.url })
  await using broker = createBroker({ driver: memory(), service: 'test' })
  for (const statement of [outboxSchema].flat()) await db.query(statement)
  // The first look is woken by the commit: one by the clock could come before it on a slow machine, find nothing, and the next is 15 s later.
  await using outbox = createOutbox({ db, broker, batchSize: 1, pollIntervalMs: 60_000 })
  let published = 0
  let going = true
  // Each message leads to the next before its own round is over.
  await broker.consume(
    sold,
    async () => {
      published++
      if (going) await db.transaction((tx) => outbox.add(tx, sold, { film: 'a', n: published }))
    },
    { group: 'g' },
  )
  await db.transaction(async (tx) => {
    for (let n = 0; n < 20; n++) await outbox.add(tx, sold, { film: 'a', n })
  })
  await vi.waitFor(
    () => {
      for (const callback of callbacks) void callback({ observe })
      expect(gauges.get('platform.queue.outbox.waiting')).toBeGreaterThan(0)
      expect(published).toBeGreaterThan(0)
    },
    { timeout: 20_000 },
  )
  expect(gauges.get('platform.queue.outbox.lag')).toBeGreaterThanOrEqual(0)
  going = false
})
