import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Deadlines } from './deadlines.ts'

describe('deadlines', () => {
  const late = new Error('late')
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  it('end each operation after its limit and at most a fiftieth later', () => {
    const deadlines = new Deadlines(1_000, () => late)
    const first = deadlines.begin()
    vi.advanceTimersByTime(15)
    const second = deadlines.begin()
    vi.advanceTimersByTime(15)
    const third = deadlines.begin()
    expect(second.signal).toBe(first.signal)
    expect(third.signal).not.toBe(first.signal)
    vi.advanceTimersByTime(975)
    expect(second.signal.aborted).toBe(false)
    vi.advanceTimersByTime(15)
    expect(first.signal.reason).toBe(late)
    expect(third.signal.aborted).toBe(false)
    vi.advanceTimersByTime(30)
    expect(third.signal.reason).toBe(late)
  })

  it('leave no timer when nobody waits, and share none with what has ended', () => {
    const deadlines = new Deadlines(1_000, () => late)
    const [first, second] = [deadlines.begin(), deadlines.begin()]
    first.release()
    expect(vi.getTimerCount()).toBe(1)
    second.release()
    expect(vi.getTimerCount()).toBe(0)
    expect(deadlines.begin().signal).not.toBe(first.signal)
  })

  it('can be ended all at once', () => {
    const deadlines = new Deadlines(1_000, () => late)
    const one = deadlines.begin()
    const closed = new Error('closed')
    deadlines.abort(closed)
    expect(one.signal.reason).toBe(closed)
    expect(vi.getTimerCount()).toBe(0)
    one.release()
    expect(deadlines.begin().signal.aborted).toBe(false)
  })
})
