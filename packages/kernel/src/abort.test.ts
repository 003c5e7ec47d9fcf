import { getEventListeners } from 'node:events'
import { afterEach, expect, test, vi } from 'vitest'
import { orAborted, settlesWithin, withDeadline } from './abort.ts'

afterEach(() => void vi.useRealTimers())

const reason = new Error('the caller has left')

test('an aborted caller leaves at once with its own reason, and what comes late is handed on', async () => {
  const work = Promise.withResolvers<number>()
  const late = vi.fn<(result: number) => void>()
  const controller = new AbortController()
  const outcome = orAborted(work.promise, controller.signal, late)
  controller.abort(reason)
  await expect(outcome).rejects.toBe(reason)
  expect(late).not.toHaveBeenCalled()
  work.resolve(7)
  await work.promise
  expect(late).toHaveBeenCalledWith(7)
})

test('a rejection after the abort is handled, also when the signal was aborted before', async () => {
  const unhandled = vi.fn<() => void>()
  process.on('unhandledRejection', unhandled)
  try {
    await expect(orAborted(Promise.reject(new Error('late')), AbortSignal.abort(reason))).rejects.toBe(reason)
    await new Promise(setImmediate)
    expect(unhandled).not.toHaveBeenCalled()
  } finally {
    process.off('unhandledRejection', unhandled)
  }
})

test('no listener stays, whichever way it ends', async () => {
  const controller = new AbortController()
  await orAborted(Promise.resolve(1), controller.signal)
  await expect(orAborted(Promise.reject(new Error('no')), controller.signal)).rejects.toThrow('no')
  await withDeadline(
    1_000,
    () => new Error('late'),
    async () => 1,
    controller.signal,
  )
  expect(getEventListeners(controller.signal, 'abort')).toEqual([])
})

test('a deadline aborts the work and rejects, though the work does not listen', async () => {
  vi.useFakeTimers()
  let seen: AbortSignal | undefined
  const outcome = withDeadline(
    50,
    () => new Error('took too long'),
    (signal) => ((seen = signal), new Promise(() => {})),
  )
  await Promise.all([expect(outcome).rejects.toThrow('took too long'), vi.advanceTimersByTimeAsync(50)])
  expect(seen?.aborted).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('a deadline of months is a deadline of months', async () => {
  vi.useFakeTimers()
  const settled = vi.fn<() => void>()
  void settlesWithin(new Promise(() => {}), 2 ** 40).then(settled)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(settled).not.toHaveBeenCalled()
})

test('says whether a promise settled in time, by rejecting too', async () => {
  vi.useFakeTimers()
  await expect(settlesWithin(Promise.reject(new Error('no')), 10)).resolves.toBe(true)
  const slow = settlesWithin(new Promise(() => {}), 10)
  await vi.advanceTimersByTimeAsync(10)
  await expect(slow).resolves.toBe(false)
})
