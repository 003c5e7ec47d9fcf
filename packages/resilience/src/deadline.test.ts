import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, deadlineHeaders, deadlineHook, withDeadline } from './index.ts'

const hangs = () => new Promise<never>(() => {})
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const sentHeaders = (): Record<string, string> => {
  const headers: Record<string, string> = {}
  deadlineHeaders(headers)
  return headers
}
const request = (headers: Record<string, string | string[]>) => ({ method: 'GET', url: '/', headers })

describe('deadlines', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  it('limit every policy inside; nested ones take the smaller', async () => {
    const policy = createPolicy({ timeoutMs: 500 })
    const call = withDeadline(300, () => withDeadline(400, () => settled(policy.execute(hangs))))
    await vi.advanceTimersByTimeAsync(300)
    expect(await call).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT', which: 'deadline', elapsedMs: 300 })
    const own = withDeadline(800, () => settled(policy.execute(hangs)))
    await vi.advanceTimersByTimeAsync(500)
    expect(await own).toMatchObject({ which: 'total', elapsedMs: 500 })
  })

  it('pass from an outer policy to an inner one, per attempt', async () => {
    const outer = createPolicy({ timeoutMs: 1000, attemptTimeoutMs: 200 })
    let inner: number | undefined
    await outer.execute(() => createPolicy({}).execute(async (attempt) => void (inner = attempt.deadlineMs)))
    expect(inner).toBe(200)
  })

  it('reject without starting work when the time is used up', async () => {
    const run = vi.fn<() => void>()
    expect(await withDeadline(0, () => settled(createPolicy({}).execute(run)))).toMatchObject({ which: 'deadline' })
    expect(run).not.toHaveBeenCalled()
  })

  it('cross a hop as remaining milliseconds', async () => {
    const policy = createPolicy({ timeoutMs: 1000 })
    let sent: Record<string, string> = {}
    await policy.execute(async () => {
      await vi.advanceTimersByTimeAsync(300)
      sent = sentHeaders()
    })
    expect(sent).toEqual({ 'x-platform-deadline-ms': '700' })
    const received = deadlineHook(request(sent), () => settled(createPolicy({ timeoutMs: 5000 }).execute(hangs)))
    await vi.advanceTimersByTimeAsync(700)
    expect(await received).toMatchObject({ which: 'deadline', elapsedMs: 700 })
  })

  it('ignore malformed headers and send none when there is nothing to say', () => {
    expect(deadlineHook(request({ 'x-platform-deadline-ms': '1e9', 'x-platform-attempt': '-2' }), sentHeaders)).toEqual({})
    expect(deadlineHook(request({ 'x-platform-deadline-ms': ['50', '9'] }), sentHeaders)).toEqual({ 'x-platform-deadline-ms': '50' })
    expect(sentHeaders()).toEqual({})
  })

  it('mark retries, and whoever receives one does not retry', async () => {
    const policy = createPolicy({ retry: { maxAttempts: 3, initialDelayMs: 0 } })
    const seen: (string | undefined)[] = []
    const call = settled(policy.execute(() => (seen.push(sentHeaders()['x-platform-attempt']), Promise.reject(new Error('down')))))
    await vi.advanceTimersByTimeAsync(10)
    await call
    expect(seen).toEqual([undefined, '2', '3'])

    const reasons: string[] = []
    const callee = createPolicy({ retry: { maxAttempts: 3, initialDelayMs: 0 }, onGiveUp: ({ reason }) => reasons.push(reason) })
    const run = vi.fn<() => Promise<never>>(() => Promise.reject(new Error('down')))
    await deadlineHook(request({ 'x-platform-attempt': '2' }), () => settled(callee.execute(run)))
    expect(run).toHaveBeenCalledTimes(1)
    expect(reasons).toEqual(['nested'])
    expect(deadlineHook(request({ 'x-platform-attempt': '2' }), sentHeaders)).toEqual({ 'x-platform-attempt': '2' })
  })
})
