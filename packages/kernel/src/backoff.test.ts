import { expect, test } from 'vitest'
import { backoffMs } from './backoff.ts'

test('doubles from the first retry on, up to the longest, and jitter takes any part of it', () => {
  const longest = (retry: number) => backoffMs(retry, 100, 10_000, () => 1)
  expect([1, 2, 3, 7, 8, 5_000].map(longest)).toEqual([100, 200, 400, 6_400, 10_000, 10_000])
  expect(backoffMs(3, 100, 10_000, () => 0)).toBe(0)
})
