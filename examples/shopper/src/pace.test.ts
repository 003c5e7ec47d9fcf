import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { arrive } from './pace.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const threeSteps = () => ({ steps: ['a', 'b', 'c'], pausesMs: [10, 20, 5] })

/** Runs it on virtual time; answers when each step was taken and when it was meant for, counted from the start. */
async function taken(pace: Parameters<typeof arrive>[0], customers: number, answerMs: number) {
  const startedAt = performance.now()
  const log: { at: number; meantFor: number }[] = []
  const done = arrive(pace, {
    customers,
    visitOf: threeSteps,
    take(_step, intendedAt) {
      log.push({ at: Math.round(performance.now() - startedAt), meantFor: Math.round(intendedAt - startedAt) })
      return after(answerMs)
    },
  })
  await vi.advanceTimersByTimeAsync(60_000)
  await done
  return log
}

describe('a steady pace', () => {
  it.each([0, 1, 5_000])('offers the same at the same moments when an answer takes %i ms', async (answerMs) => {
    const log = await taken({ kind: 'steady', ordersPerSecond: 2 }, 3, answerMs)
    const moments = [0, 10, 30, 500, 510, 530, 1_000, 1_010, 1_030]
    expect(log.map(({ meantFor }) => meantFor).toSorted((a, b) => a - b)).toEqual(moments)
    for (const { at, meantFor } of log) expect(at - meantFor).toBeLessThanOrEqual(1)
  })

  it('ends with the first failure, before the customers who have not come yet', async () => {
    let takenSteps = 0
    const done = arrive(
      { kind: 'steady', ordersPerSecond: 1 },
      {
        customers: 1_000,
        visitOf: threeSteps,
        async take() {
          takenSteps++
          await after(1)
          throw new Error('no answer')
        },
      },
    )
    const outcome = done.catch((error: Error) => error.message)
    await vi.advanceTimersByTimeAsync(50)
    expect(await outcome).toBe('no answer')
    expect(takenSteps).toBe(1)
  })

  it('ends with the reason of its signal', async () => {
    const stop = new AbortController()
    const crowd = { customers: 1_000, visitOf: threeSteps, take: () => after(1), signal: stop.signal }
    const outcome = arrive({ kind: 'steady', ordersPerSecond: 0.001 }, crowd).catch((error: Error) => error.message)
    await vi.advanceTimersByTimeAsync(100)
    stop.abort(new Error('enough'))
    expect(await outcome).toBe('enough')
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a rush', () => {
  it('takes each step when the one before is done, as many customers at a time as asked for', async () => {
    const log = await taken({ kind: 'rush', concurrency: 2 }, 4, 100)
    expect(log.map(({ at }) => at)).toEqual([0, 0, 100, 100, 200, 200, 300, 300, 400, 400, 500, 500])
  })

  it('goes on for as long as it is told to', async () => {
    let left = 0
    const crowd = { customers: 2, visitOf: threeSteps, take: () => after(10), onLeft: () => void left++, goOn: () => left < 10 }
    const done = arrive({ kind: 'rush', concurrency: 2 }, crowd)
    await vi.advanceTimersByTimeAsync(10_000)
    await done
    expect(left).toBeGreaterThanOrEqual(10)
    expect(left).toBeLessThanOrEqual(11)
  })
})
