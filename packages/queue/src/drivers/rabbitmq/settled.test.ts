import type { ConsumeMessage } from 'amqplib'
import { afterEach, expect, it, vi } from 'vitest'
import { Settled } from './settled.ts'

afterEach(() => void vi.useRealTimers())

const message = (messageId: string | undefined, earlier = 0): ConsumeMessage =>
  ({ fields: {}, properties: { messageId, headers: { 'x-delivery-count': earlier } } }) as unknown as ConsumeMessage

it('knows what was acknowledged last, as much as a channel may hold, and not for ever', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const settled = new Settled(3)
  for (const id of ['a', 'b', 'c', 'd', 'e']) settled.add(message(id))
  expect(settled.ids.slice(-3)).toEqual(['c', 'd', 'e'])
  for (let n = 0; n < 100; n += 1) settled.add(message(`${n}`))
  expect(['e', '97', '98', '99'].map((id) => settled.isDone(message(id, 1), new Set()))).toEqual([false, true, true, true])
  expect(settled.ids.length).toBeLessThanOrEqual(6)
  vi.advanceTimersByTime(9_000)
  expect(settled.isDone(message('99', 1), new Set())).toBe(true)
  vi.advanceTimersByTime(10_001)
  expect(settled.ids).toEqual([])
})

it('takes for done only what comes again: not what is published anew under its id, nor what has none', () => {
  const settled = new Settled(3)
  const left = new Set(['b'])
  for (const id of ['a', undefined]) settled.add(message(id))
  expect(settled.isDone(message(undefined, 1), left)).toBe(false)
  expect(settled.isDone(message('b', 1), left)).toBe(true)
  for (const id of ['a', 'b']) {
    settled.arrived(message(id))
    expect(settled.isDone(message(id), left)).toBe(false)
    expect(settled.isDone(message(id, 1), left)).toBe(false)
  }
})
