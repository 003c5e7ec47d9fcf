import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, singleFlight, withDeadline, withoutDeadline } from './index.ts'

const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('single flight', () => {
  it('runs one work per key; an aborted caller leaves the others alone, the last one ends the work', async () => {
    const flights = singleFlight<number>()
    const controllers = [new AbortController(), new AbortController()]
    let workSignal!: AbortSignal
    let finish!: (value: number) => void
    const work = vi.fn<(options: { signal: AbortSignal }) => Promise<number>>(
      ({ signal }: { signal: AbortSignal }) => ((workSignal = signal), new Promise<number>((resolve) => void (finish = resolve))),
    )
    const [a, b] = controllers.map(({ signal }) => settled(flights.run('k', work, { signal })))
    controllers[0]!.abort('gone')
    expect(await a).toBe('gone')
    expect(workSignal.aborted).toBe(false)
    finish(5)
    expect(await b).toBe(5)
    expect(work).toHaveBeenCalledTimes(1)
    expect(getEventListeners(controllers[1]!.signal, 'abort')).toHaveLength(0)

    const alone = new AbortController()
    const c = settled(flights.run('k', work, { signal: alone.signal }))
    alone.abort('gone')
    expect(await c).toBe('gone')
    expect(workSignal.aborted).toBe(true)
    const d = flights.run('k', work)
    expect(work).toHaveBeenCalledTimes(3)
    finish(6)
    expect(await d).toBe(6)
  })

  it('hands one failure to all and starts anew afterwards', async () => {
    const flights = singleFlight<number>()
    const failing = () => Promise.reject(new Error('down'))
    const both = await Promise.all([settled(flights.run('k', failing)), settled(flights.run('k', () => Promise.resolve(1)))])
    expect(both[0]).toBe(both[1])
    expect(await flights.run('k', () => Promise.resolve(2))).toBe(2)
  })
})

it('a flight does not end by the deadline of whoever started it', async () => {
  const policy = createPolicy({ name: 'dependency', timeoutMs: 5000 })
  const flights = singleFlight<number>()
  const load = () => flights.run('film', () => policy.execute(() => new Promise<number>((resolve) => setTimeout(resolve, 60, 42))))
  const answers = Promise.all([withDeadline(10, load), load()])
  const limited = settled(withDeadline(10, () => policy.execute(() => new Promise(() => {}))))
  await vi.advanceTimersByTimeAsync(60)
  expect(await answers).toEqual([42, 42])
  expect(await limited).toMatchObject({ which: 'deadline' })
  expect(await withDeadline(10, () => withoutDeadline(() => policy.execute(({ deadlineMs }) => deadlineMs! > 1000)))).toBe(true)
})
