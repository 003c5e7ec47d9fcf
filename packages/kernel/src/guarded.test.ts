import { expect, test, vi } from 'vitest'
import { guarded, safeLogger } from './guarded.ts'

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

test('a logger that throws, rejects or is not there says nothing of it', async () => {
  const info = vi.fn<() => void>()
  const hostile = {
    debug: () => {
      throw new Error('boom')
    },
    info,
    warn: () => Promise.reject(new Error('boom')) as never,
    error: undefined as never,
  }
  const unhandled = vi.fn<() => void>()
  process.on('unhandledRejection', unhandled)
  const logger = safeLogger(hostile)
  logger.debug({})
  logger.info({ n: 1 }, 'said')
  logger.warn({})
  logger.error({})
  safeLogger(undefined).error({}, 'nobody hears')
  await new Promise(setImmediate)
  process.off('unhandledRejection', unhandled)
  expect(unhandled).not.toHaveBeenCalled()
  expect(info).toHaveBeenCalledWith({ n: 1 }, 'said')
})
