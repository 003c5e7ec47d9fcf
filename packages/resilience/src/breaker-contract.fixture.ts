import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPolicy, type Policy, type PolicyOptions, withDeadline } from './index.ts'

/** What the breaker under test is made for: 50 % of at least four finished calls of ten seconds; breaks of 1 s; a probe has 500 ms. */
export interface BreakerUnderTest {
  make(): PolicyOptions['breaker']
}

const fails = () => Promise.reject(new Error('down'))
const hangs = () => new Promise<never>(() => {})
const outcome = async (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  )
const REFUSED = 'ERR_RESILIENCE_CIRCUIT_OPEN'

/** The suite that every breaker passes which a policy can be given. */
export function describeBreaker(name: string, { make }: BreakerUnderTest): void {
  describe(`the breaker of ${name}`, () => {
    beforeEach(
      () => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] }),
    )
    afterEach(() => void vi.useRealTimers())

    const open = async (options: PolicyOptions = {}): Promise<Policy> => {
      const policy = createPolicy({ ...options, breaker: make() })
      for (let i = 0; i < 4; i++) await outcome(policy.execute(fails))
      expect(policy.stats().state).toBe('open')
      return policy
    }
    const halfOpen = async (options?: PolicyOptions): Promise<Policy> => {
      const policy = await open(options)
      await vi.advanceTimersByTimeAsync(1001)
      return policy
    }

    it('opens by the part of the finished calls that failed, however many run, and not by few', async () => {
      const policy = createPolicy({ breaker: make() })
      void Array.from({ length: 50 }, () => policy.execute(hangs))
      for (let i = 0; i < 3; i++) await outcome(policy.execute(fails))
      expect(policy.stats().state).toBe('closed')
      await outcome(policy.execute(fails))
      expect(policy.stats().state).toBe('open')
      const mixed = createPolicy({ breaker: make() })
      for (let i = 0; i < 30; i++) await outcome(mixed.execute(i % 3 === 2 ? fails : () => 1))
      expect(mixed.stats().state).toBe('closed')
    })

    it('refuses at once while open, says when to come back, and lets one through after the break', async () => {
      const policy = await open()
      await vi.advanceTimersByTimeAsync(400)
      await expect(policy.execute(() => 1)).rejects.toMatchObject({ code: REFUSED, retryAfterMs: 600 })
      await vi.advanceTimersByTimeAsync(601)
      expect(policy.stats().state).toBe('half-open')
      let answer!: () => void
      const probe = policy.execute(() => new Promise<void>((resolve) => void (answer = resolve)))
      expect(await Promise.all([1, 2, 3].map(() => outcome(policy.execute(() => 1))))).toEqual([REFUSED, REFUSED, REFUSED])
      answer()
      await probe
      expect([policy.stats().state, await outcome(policy.execute(() => 1))]).toEqual(['closed', 'ok'])
    })

    it('forgets the failures of before when it has recovered', async () => {
      const policy = await halfOpen()
      await policy.execute(() => 1)
      for (let i = 0; i < 3; i++) await outcome(policy.execute(fails))
      expect(policy.stats().state).toBe('closed')
    })

    it('opens again by a probe that fails, and by one that hangs: nothing keeps it half-open', async () => {
      const failing = await halfOpen()
      await outcome(failing.execute(fails))
      expect(failing.stats().state).toBe('open')
      const hanging = await halfOpen()
      void outcome(hanging.execute(hangs))
      await vi.advanceTimersByTimeAsync(501)
      expect(hanging.stats().state).toBe('open')
      await vi.advanceTimersByTimeAsync(1001)
      expect(await outcome(hanging.execute(() => 1))).toBe('ok')
      expect(hanging.stats().state).toBe('closed')
    })

    it('a result that comes from an earlier state changes nothing', async () => {
      const policy = createPolicy({ breaker: make() })
      const late = Promise.withResolvers<number>()
      const early = policy.execute(() => late.promise)
      const lateFailures = Array.from({ length: 6 }, () => Promise.withResolvers<never>())
      const earlyFailures = lateFailures.map(({ promise }) => outcome(policy.execute(() => promise)))
      for (let i = 0; i < 4; i++) await outcome(policy.execute(fails))
      await vi.advanceTimersByTimeAsync(1001)
      late.resolve(1)
      await early
      expect(policy.stats().state).toBe('half-open')
      await policy.execute(() => 1)
      for (const { reject } of lateFailures) reject(new Error('late'))
      await Promise.all(earlyFailures)
      expect(policy.stats().state).toBe('closed')
    })

    it('local refusals, callers that leave and hasty callers say nothing, also as probes', async () => {
      const policy = createPolicy({ breaker: make(), bulkhead: { maxConcurrent: 1 } })
      void policy.execute(hangs)
      for (let i = 0; i < 20; i++) expect(await outcome(policy.execute(() => 1))).toBe('ERR_RESILIENCE_BULKHEAD_FULL')
      expect(policy.stats().state).toBe('closed')
      const probing = await halfOpen()
      const controller = new AbortController()
      const left = outcome(probing.execute(hangs, { signal: controller.signal }))
      controller.abort(new Error('left'))
      expect(await left).toBe('left')
      const hasty = withDeadline(5, () => outcome(probing.execute(hangs)))
      await vi.advanceTimersByTimeAsync(5)
      await hasty
      expect(probing.stats().state).toBe('half-open')
      expect(await outcome(probing.execute(() => 1))).toBe('ok')
      expect(probing.stats().state).toBe('closed')
    })

    it('counts timeouts, forgets what is older than the window, and closes by reset', async () => {
      const policy = createPolicy({ attemptTimeoutMs: 50, breaker: make() })
      for (let i = 0; i < 3; i++) await outcome(policy.execute(fails))
      await vi.advanceTimersByTimeAsync(11_000)
      await outcome(policy.execute(fails))
      expect(policy.stats().state).toBe('closed')
      const slow = Array.from({ length: 4 }, () => outcome(policy.execute(hangs)))
      await vi.advanceTimersByTimeAsync(50)
      await Promise.all(slow)
      expect(policy.stats().state).toBe('open')
      policy.reset()
      for (let i = 0; i < 3; i++) await outcome(policy.execute(fails))
      expect(policy.stats().state).toBe('closed')
    })
  })
}
