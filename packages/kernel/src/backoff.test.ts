import { expect, test } from 'vitest'
import { backoffMs, jittered } from './backoff.ts'

test('doubles from the first retry on, up to the longest, and jitter takes any part of it', () => {
  const longest = (retry: number) => backoffMs(retry, 100, 10_000, () => 1)
  expect([1, 2, 3, 7, 8, 5_000].map(longest)).toEqual([100, 200, 400, 6_400, 10_000, 10_000])
  expect(backoffMs(3, 100, 10_000, () => 0)).toBe(0)
})

test('a pause among many is at least half of the time and at most all of it', () => {
  expect([0, 0.5, 1].map((random) => jittered(100, () => random))).toEqual([50, 75, 100])
})
