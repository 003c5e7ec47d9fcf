import { getEventListeners } from 'node:events'
import { expect, it } from 'vitest'
import { onAbort } from './abort-listeners.ts'

it('tells everybody who still waits, once, through one listener that goes with the last of them', () => {
  const { signal } = new AbortController()
  const leave = Array.from({ length: 500 }, () => onAbort(signal, () => {}))
  expect(getEventListeners(signal, 'abort')).toHaveLength(1)
  for (const stop of leave) stop()
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)

  const controller = new AbortController()
  const told: number[] = []
  const stops = [0, 1, 2].map((n) => onAbort(controller.signal, () => void told.push(n)))
  stops[1]?.()
  // Who leaves while the others are told is not told.
  onAbort(controller.signal, () => stops[2]?.())
  controller.abort()
  expect(told).toEqual([0])
  for (const stop of stops) stop()
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
})
