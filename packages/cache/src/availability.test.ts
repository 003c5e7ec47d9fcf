import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Availability } from './availability.ts'
import { tooLate } from './limited.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => void vi.useRealTimers())

it('what was asked before l2 was left alone says nothing new, however late its failure comes', () => {
  const back = vi.fn<() => void>()
  const availability = new Availability(back)
  const asked = Array.from({ length: 30 }, () => availability.enter())
  for (const standing of asked.splice(0, 3)) availability.failed(tooLate(1), standing)
  expect(() => availability.enter()).toThrow('not asked')
  // The first pause is 200 ms at most, and at least 100 from the moment that begins it.
  vi.advanceTimersByTime(150)
  for (const standing of asked) availability.failed(tooLate(1), standing)
  vi.advanceTimersByTime(50)
  const probing = availability.enter()
  expect(() => availability.enter()).toThrow('not asked')
  expect(probing.is).toBe('away')
  availability.answered()
  expect(back).toHaveBeenCalledTimes(1)
  expect(availability.enter().is).toBe('well')
})
