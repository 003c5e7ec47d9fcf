import { getEventListeners } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, expect, test, vi } from 'vitest'
import { awaitedByMany, orAborted, settlesWithin, withDeadline } from './abort.ts'

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

test('work that many await answers each of them, those who come late as well, and nobody who has left', async () => {
  const work = Promise.withResolvers<number>()
  const wait = awaitedByMany(work.promise)
  const [leaving, staying] = [new AbortController(), new AbortController()]
  const waits = [wait(leaving.signal), wait(staying.signal), wait()]
  leaving.abort(reason)
  await expect(waits[0]).rejects.toBe(reason)
  await expect(wait(leaving.signal)).rejects.toBe(reason)
  work.resolve(7)
  expect(await Promise.all(waits.slice(1))).toEqual([7, 7])
  expect(await wait(staying.signal)).toBe(7)
  expect(getEventListeners(staying.signal, 'abort')).toEqual([])

  const failing = awaitedByMany(Promise.reject(new Error('no')))
  await expect(failing(staying.signal)).rejects.toThrow('no')
  await expect(failing()).rejects.toThrow('no')
  expect(getEventListeners(staying.signal, 'abort')).toEqual([])
})

test('who gives up on work that many await leaves nothing behind on it', async () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const wait = awaitedByMany(new Promise(() => {}))
  const signals: WeakRef<AbortSignal>[] = []
  const giveUp = async (): Promise<void> => {
    const controller = new AbortController()
    signals.push(new WeakRef(controller.signal))
    const outcome = wait(controller.signal).catch(() => {})
    controller.abort(reason)
    await outcome
  }
  for (let n = 0; n < 10; n++) await giveUp()
  await vi.waitFor(() => {
    gc()
    expect(signals.filter((one) => one.deref() !== undefined).length).toBeLessThan(2)
  })
})
