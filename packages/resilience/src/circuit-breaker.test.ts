import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, type Policy, type PolicyOptions, ResilienceError } from './index.ts'

const breaker = {
  failureRatio: 0.5,
  minimumThroughput: 4,
  samplingDurationMs: 10_000,
  breakDurationMs: 1000,
  maxBreakDurationMs: 1000,
  recoveryMs: 0,
}
const fails = () => Promise.reject(new Error('down'))
const hangs = () => new Promise<never>(() => {})
const code = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  )

async function open(policy: Policy): Promise<void> {
  for (let i = 0; i < 4; i++) await code(policy.execute(fails))
  expect(policy.stats().state).toBe('open')
}

describe('circuit breaker', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] }))
  afterEach(() => void vi.useRealTimers())

  it('opens by the ratio of finished calls, however many are under way', async () => {
    const policy = createPolicy({ breaker })
    const running = Array.from({ length: 50 }, () => policy.execute(hangs))
    void running
    for (let i = 0; i < 3; i++) await code(policy.execute(fails))
    expect(policy.stats().state).toBe('closed')
    await code(policy.execute(fails))
    expect(policy.stats()).toMatchObject({ state: 'open', inFlight: 50 })
  })

  it('stays closed below the ratio and below the minimum throughput', async () => {
    const policy = createPolicy({ breaker: { ...breaker, minimumThroughput: 10 } })
    for (let i = 0; i < 9; i++) await code(policy.execute(fails))
    expect(policy.stats().state).toBe('closed')
    const mixed = createPolicy({ breaker })
    for (let i = 0; i < 30; i++) await code(mixed.execute(i % 3 === 2 ? fails : () => 1))
    expect(mixed.stats().state).toBe('closed')
  })

  it('rejects at once while open and says when to come back', async () => {
    const policy = createPolicy({ name: 'catalog', breaker })
    await open(policy)
    vi.advanceTimersByTime(400)
    const error = await policy.execute(() => 1).catch((e: unknown) => e)
    expect(ResilienceError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({ code: 'ERR_RESILIENCE_CIRCUIT_OPEN', policy: 'catalog', retryAfterMs: 600 })
  })

  it('forgets what is older than the window, also after a long pause', async () => {
    const policy = createPolicy({ breaker })
    for (let i = 0; i < 3; i++) await code(policy.execute(fails))
    vi.advanceTimersByTime(3_600_000)
    for (let i = 0; i < 3; i++) await code(policy.execute(fails))
    expect(policy.stats().state).toBe('closed')
    vi.advanceTimersByTime(5000)
    await code(policy.execute(fails))
    expect(policy.stats().state).toBe('open')
  })

  it('is not moved by the wall clock', async () => {
    const policy = createPolicy({ breaker })
    await open(policy)
    vi.setSystemTime(0)
    vi.advanceTimersByTime(1000)
    expect(policy.stats().state).toBe('half-open')
  })

  it('lets exactly the configured probes of 1000 callers through and closes when all succeed', async () => {
    const events: string[] = []
    const policy = createPolicy({
      breaker: { ...breaker, probes: 3 },
      onBreak: () => events.push('break'),
      onHalfOpen: () => events.push('half-open'),
      onReset: () => events.push('reset'),
    })
    await open(policy)
    vi.advanceTimersByTime(1000)
    expect(policy.stats().state).toBe('half-open')
    let started = 0
    const release: (() => void)[] = []
    let rejected = 0
    const calls = Array.from({ length: 1000 }, () =>
      code(policy.execute(() => new Promise<void>((resolve) => void (started++, release.push(resolve))))).then((result) => {
        if (result !== 'ok') rejected++
        return result
      }),
    )
    await vi.advanceTimersByTimeAsync(0)
    expect(started).toBe(3)
    expect(rejected, 'nobody is parked').toBe(997)
    for (const done of release) done()
    const results = await Promise.all(calls)
    expect(results.filter((result) => result === 'ok')).toHaveLength(3)
    expect(results.filter((result) => result === 'ERR_RESILIENCE_CIRCUIT_OPEN')).toHaveLength(997)
    expect(policy.stats().state).toBe('closed')
    expect(events).toEqual(['break', 'half-open', 'reset'])
    for (let i = 0; i < 3; i++) await code(policy.execute(fails))
    expect(policy.stats().state, 'the window is new after closing').toBe('closed')
  })

  it('opens again when a probe fails', async () => {
    const policy = createPolicy({ breaker })
    await open(policy)
    vi.advanceTimersByTime(1000)
    await code(policy.execute(fails))
    expect(policy.stats().state).toBe('open')
    vi.advanceTimersByTime(1000)
    await policy.execute(() => 1)
    expect(policy.stats().state).toBe('closed')
  })

  it('counts a hung probe as failed when its lease ends, so that half-open never lasts', async () => {
    const policy = createPolicy({ breaker: { ...breaker, probeTimeoutMs: 300 } })
    await open(policy)
    vi.advanceTimersByTime(1000)
    void policy.execute(hangs)
    vi.advanceTimersByTime(299)
    expect(policy.stats().state).toBe('half-open')
    vi.advanceTimersByTime(1)
    expect(policy.stats().state).toBe('open')
  })

  it('forgets the lease of a probe that has answered', async () => {
    const policy = createPolicy({ breaker: { ...breaker, probes: 2, probeTimeoutMs: 300 } })
    await open(policy)
    vi.advanceTimersByTime(1000)
    await policy.execute(() => 1)
    vi.advanceTimersByTime(10_000)
    expect(policy.stats().state).toBe('half-open')
    await policy.execute(() => 1)
    expect(policy.stats().state).toBe('closed')
  })

  it('gives the lease of a probe that its caller aborted to the next call', async () => {
    const policy = createPolicy({ breaker })
    await open(policy)
    vi.advanceTimersByTime(1000)
    const controller = new AbortController()
    const probe = code(policy.execute(hangs, { signal: controller.signal }))
    expect(await code(policy.execute(() => 1))).toBe('ERR_RESILIENCE_CIRCUIT_OPEN')
    controller.abort(new Error('left'))
    expect(await probe).toBe('left')
    expect(await code(policy.execute(() => 1))).toBe('ok')
    expect(policy.stats().state).toBe('closed')
  })

  it('ignores results of calls admitted in an earlier state', async () => {
    const policy = createPolicy({ breaker })
    let failLate!: (error: Error) => void
    let succeedLate!: () => void
    const lateFailure = code(policy.execute(() => new Promise<void>((_, reject) => void (failLate = reject))))
    const lateSuccess = code(policy.execute(() => new Promise<void>((resolve) => void (succeedLate = resolve))))
    await open(policy)
    vi.advanceTimersByTime(1000)
    void policy.execute(hangs)
    succeedLate()
    await lateSuccess
    expect(policy.stats().state, 'a late success does not close it').toBe('half-open')
    failLate(new Error('late'))
    await lateFailure
    expect(policy.stats().state, 'a late failure does not open it').toBe('half-open')
  })

  it('is not opened by local rejections, aborts or waits for a slot', async () => {
    const options: PolicyOptions = { timeoutMs: 500, breaker, bulkhead: { maxConcurrent: 1, maxQueued: 20, maxWaitMs: 5000 } }
    const policy = createPolicy(options)
    void policy.execute(hangs, { signal: AbortSignal.abort() }).catch(() => {})
    const controller = new AbortController()
    const first = code(policy.execute(hangs, { signal: controller.signal }))
    const queued = Array.from({ length: 20 }, () => code(policy.execute(fails)))
    const refused = Array.from({ length: 20 }, () => code(policy.execute(fails)))
    expect(new Set(await Promise.all(refused))).toEqual(new Set(['ERR_RESILIENCE_BULKHEAD_FULL']))
    controller.abort(new Error('left'))
    expect(await first).toBe('left')
    await vi.advanceTimersByTimeAsync(500)
    expect(new Set(await Promise.all(queued))).toEqual(new Set(['ERR_RESILIENCE_TIMEOUT']))
    expect(policy.stats()).toEqual({ state: 'closed', inFlight: 1, queued: 0 })
  })

  it.each<[string, () => unknown]>([
    [
      'a throw before any promise',
      () => {
        throw new Error('sync')
      },
    ],
    ['undefined', () => Promise.reject(undefined)],
    ['what is no Error', () => Promise.reject('down')],
    // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
    ["another library's promise", () => ({ then: (_: unknown, reject: (error: unknown) => void) => reject(503) })],
  ])('counts %s like any failure', async (_, run) => {
    const policy = createPolicy({ breaker })
    for (let i = 0; i < 4; i++)
      await policy.execute(run).then(
        () => expect.unreachable(),
        () => {},
      )
    expect(policy.stats().state).toBe('open')
  })

  it('counts timeouts as failures, and outcomes by shouldHandle', async () => {
    const slow = createPolicy({ timeoutMs: 100, breaker })
    const calls = Array.from({ length: 4 }, () => code(slow.execute(hangs)))
    await vi.advanceTimersByTimeAsync(100)
    await Promise.all(calls)
    expect(slow.stats().state).toBe('open')
    const policy = createPolicy({ breaker: { ...breaker, shouldHandle: (outcome) => outcome.ok && outcome.value === 503 } })
    for (let i = 0; i < 4; i++) await code(policy.execute(fails))
    expect(policy.stats().state).toBe('closed')
    for (let i = 0; i < 4; i++) await policy.execute(() => 503)
    expect(policy.stats().state).toBe('open')
  })

  it('keeps no timer while closed: 10,000 breakers made and dropped leave none', async () => {
    for (let i = 0; i < 10_000; i++) await createPolicy({ breaker }).execute(() => i)
    expect(vi.getTimerCount()).toBe(0)
  })
})
