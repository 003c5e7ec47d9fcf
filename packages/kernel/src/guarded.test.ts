import { expect, test, vi } from 'vitest'
import { guarded } from './guarded.ts'

test('what a user function throws, rejects or hides in a thenable is told once and goes no further', async () => {
  const failed = vi.fn<(error: unknown) => void>()
  const boom = new Error('boom')
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw boom
      },
    },
  )
  guarded(() => {
    throw boom
  }, failed)
  void guarded(() => Promise.reject(boom), failed)
  guarded(() => hostile, failed)
  await new Promise(setImmediate)
  expect(failed.mock.calls).toEqual([[boom], [boom], [boom]])
})

test('a report that throws is dropped, a result is handed back', () => {
  expect(
    guarded(
      () => {
        throw new Error('first')
      },
      () => {
        throw new Error('second')
      },
    ),
  ).toBeUndefined()
  expect(guarded(() => 7)).toBe(7)
})
