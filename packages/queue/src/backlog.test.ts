import { createNoopMeter, metrics, type BatchObservableCallback, type Meter, type Observable } from '@opentelemetry/api'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Backlog } from './backlog.ts'
import type { DriverSubscription } from './driver.ts'

const callbacks = new Set<BatchObservableCallback>()

function collect(): Record<string, number> {
  const seen: Record<string, number> = {}
  for (const callback of callbacks) {
    void callback({ observe: (gauge: Observable, value: number) => void (seen[(gauge as unknown as { name: string }).name] = value) })
  }
  return seen
}

beforeEach(() => {
  vi.useFakeTimers()
  // In the middle of its jitter it looks every 15 s.
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
  const meter = Object.assign(createNoopMeter(), {
    createObservableGauge: (name: string) => ({ name }),
    addBatchObservableCallback: (callback: BatchObservableCallback) => void callbacks.add(callback),
    removeBatchObservableCallback: (callback: BatchObservableCallback) => void callbacks.delete(callback),
  })
  metrics.setGlobalMeterProvider({ getMeter: () => meter as unknown as Meter })
})
afterEach(() => {
  metrics.disable()
  callbacks.clear()
  vi.useRealTimers()
  vi.restoreAllMocks()
})

it('tells how much waits and how old it is, nothing when that cannot be asked, and ends with its consumer', async () => {
  const answers: (number | Error)[] = [0, 7, new Error('away'), 3]
  const depth = async (): Promise<number> => {
    const answer = answers.shift() ?? 0
    if (answer instanceof Error) throw answer
    return answer
  }
  const backlog = new Backlog({ depth } as unknown as DriverSubscription, { group: 'g' })
  expect(collect()).toEqual({})
  await vi.advanceTimersByTimeAsync(1)
  expect(collect()).toEqual({ 'platform.queue.depth': 0, 'platform.queue.oldest_age': 0 })
  backlog.saw(Date.now() - 60_000)
  await vi.advanceTimersByTimeAsync(15_000)
  const { 'platform.queue.depth': waiting, 'platform.queue.oldest_age': age } = collect()
  expect(waiting).toBe(7)
  expect(age).toBeCloseTo(75, 0)
  await vi.advanceTimersByTimeAsync(15_000)
  expect(collect()).toEqual({})
  await vi.advanceTimersByTimeAsync(15_000)
  expect(collect()['platform.queue.depth']).toBe(3)
  backlog.end()
  expect(callbacks.size).toBe(0)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(vi.getTimerCount()).toBe(0)
})
