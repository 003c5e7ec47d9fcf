import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicyGroup } from './index.ts'

const hangs = () => new Promise<never>(() => {})
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('policy group', () => {
  it('keeps keys apart and forgets the idle ones', async () => {
    const group = createPolicyGroup({ breaker: { minimumThroughput: 1, breakDurationMs: 3_600_000 }, idleTimeoutMs: 1000 })
    await settled(group.for('a').execute(() => Promise.reject(new Error('down'))))
    expect(group.for('a').stats().state).toBe('open')
    expect(await group.for('b').execute(() => 1)).toBe(1)
    const running = group.for('c').execute(hangs)
    void running
    await vi.advanceTimersByTimeAsync(2000)
    expect(group.size, 'the key with work under way stays').toBe(1)
    expect(group.for('a').stats().state).toBe('closed')
    expect(() => createPolicyGroup({ timeout: 5 } as never)).toThrow('timeout is unknown')
  })

  it('leaves no timer when all keys are forgotten', async () => {
    const group = createPolicyGroup({ breaker: { minimumThroughput: 1 }, idleTimeoutMs: 1000 })
    for (let i = 0; i < 100; i++) await settled(group.for(String(i)).execute(() => Promise.reject(new Error('down'))))
    await vi.advanceTimersByTimeAsync(2000)
    expect(group.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })
})
