import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, createPolicyGroup } from './index.ts'

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
  it('takes new options for all its keys, and is capped', async () => {
    const group = createPolicyGroup({ name: 'tenants', breaker: { consecutiveFailures: 2 }, maxKeys: 3 })
    const fail = (key: string) => settled(group.for(key).execute(() => Promise.reject(new Error('down'))))
    await fail('a')
    group.update({ breaker: { consecutiveFailures: 1 }, maxKeys: 3 })
    await fail('a')
    expect(group.for('a').stats().state).toBe('open')
    void group.for('busy').execute(hangs)
    for (const key of ['b', 'c', 'd']) await fail(key)
    expect(group.size).toBe(3)
    expect(group.for('busy').stats().inFlight, 'a key with work under way stays').toBe(1)
    expect(() => group.update({ name: 'other' })).toThrow('name cannot change')
    expect(() => group.update({ maxKeys: 0 })).toThrow('maxKeys')
    group.dispose()
    expect([group.size, vi.getTimerCount()]).toEqual([0, 0])
  })
})

it('a live policy can be disposed of', () => {
  const listeners = new Set<unknown>()
  const live = {
    current: { timeoutMs: 100 },
    onChange: (listener: unknown) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
  {
    using policy = createPolicy(live)
    expect([listeners.size, policy.stats().state]).toEqual([1, 'closed'])
  }
  expect(listeners.size).toBe(0)
})
