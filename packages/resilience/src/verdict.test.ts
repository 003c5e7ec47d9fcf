import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type Attempt,
  createPolicy,
  noopPolicy,
  type Policy,
  type PolicyOptions,
  provesNotSent,
  type Verdict,
  withDeadline,
} from './index.ts'

const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const after = (ms: number, value: unknown = ms) => new Promise((resolve) => setTimeout(resolve, ms, value))
const hangs = () => new Promise<never>(() => {})
const failure = (fields: object) => Object.assign(new Error('failed'), fields)

/** What the attempts of one call said, in order. */
function heard(policy: Policy, work: (attempt: Attempt) => unknown, options: { signal?: AbortSignal } = {}) {
  const verdicts: [Verdict, number][] = []
  const outcome = settled(
    policy.execute((attempt) => {
      attempt.onEnded((verdict, tookMs) => verdicts.push([verdict, Math.round(tookMs)]))
      return work(attempt) as Promise<unknown>
    }, options),
  )
  return { verdicts, outcome }
}

describe('the verdict on an attempt', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  it.each<[string, unknown, Verdict]>([
    ['a value', 1, 'answered'],
    ['a response', { status: 500 }, 'answered'],
    ['429', { status: 429 }, 'refused'],
    ['503 with Retry-After', { status: 503, headers: { 'Retry-After': '2' } }, 'refused'],
    ['503', { status: 503, headers: {} }, 'answered'],
    ['a value whose getter throws', Object.defineProperty({}, 'status', { get: () => assertNever() }), 'answered'],
    ['an error', new Error('no'), 'failed'],
    ['a rejection with nothing', undefined, 'failed'],
    ['an error of a 429', failure({ response: { statusCode: 429 } }), 'refused'],
    ['a refused connection', failure({ cause: failure({ code: 'ECONNREFUSED', syscall: 'connect' }) }), 'not-sent'],
    ['a connection that broke', failure({ code: 'EHOSTUNREACH', syscall: 'read' }), 'failed'],
  ])('by what it brought: %s', async (_, result, expected) => {
    const { verdicts, outcome } = heard(noopPolicy, () =>
      result instanceof Error || result === undefined ? Promise.reject(result as Error) : result,
    )
    await outcome
    expect(verdicts).toEqual([[expected, 0]])
  })

  it('by who ended it: the own limit, the caller, its deadline, a hedge that won', async () => {
    const own = heard(createPolicy({ attemptTimeoutMs: 50 }), hangs)
    const total = heard(createPolicy({ timeoutMs: 50 }), hangs)
    const controller = new AbortController()
    const left = heard(createPolicy({}), hangs, { signal: controller.signal })
    const late = withDeadline(30, () => heard(createPolicy({ timeoutMs: 500 }), hangs))
    const rest = heard(createPolicy({ timeoutMs: 100, retry: { maxAttempts: 2, initialDelayMs: 0 } }), ({ attempt }) =>
      attempt === 1 ? after(90).then(() => Promise.reject(new Error('late'))) : hangs(),
    )
    const hedged = heard(createPolicy({ hedge: { maxHedges: 1, delayMs: 10 } }), ({ attempt }) => (attempt === 1 ? after(80) : after(10)))
    setTimeout(() => controller.abort('left'), 40)
    await vi.advanceTimersByTimeAsync(200)
    expect([own, total, left, late, hedged].map(({ verdicts }) => verdicts)).toEqual([
      [['timed-out', 50]],
      [['timed-out', 50]],
      [['too-slow', 40]],
      [['too-slow', 30]],
      [
        ['answered', 10],
        ['not-wanted', 20],
      ],
    ])
    expect(
      rest.verdicts.map(([verdict]) => verdict),
      'what a total timeout leaves to the last attempt is not its fault',
    ).toEqual(['failed', 'too-slow'])
  })

  it('opens no circuit by callers that came with too little time, and does by callers that waited long', async () => {
    const policy = createPolicy({ breaker: { minimumThroughput: 5, failureRatio: 0.3 } })
    const call = (work: () => unknown, ms: number) => withDeadline(ms, () => settled(policy.execute(work as () => Promise<unknown>)))
    for (let i = 0; i < 20; i++) {
      const answered = call(() => after(20), 1000)
      const hasty = call(() => after(20), 5)
      await vi.advanceTimersByTimeAsync(20)
      await Promise.all([answered, hasty])
    }
    expect(policy.stats().state).toBe('closed')
    for (let i = 0; i < 20; i++) {
      const patient = call(hangs, 300)
      await vi.advanceTimersByTimeAsync(300)
      await patient
    }
    expect(policy.stats().state).not.toBe('closed')
  })
})

describe('a stall of this process', () => {
  const block = (ms: number): void => {
    const until = performance.now() + ms
    while (performance.now() < until);
  }
  async function server(delayMs: number): Promise<string> {
    const listening = createServer((_, response) => void setTimeout(() => response.end('ok'), delayMs)).listen(0, '127.0.0.1')
    onTestFinished(() => listening.close().closeAllConnections())
    await new Promise((resolve) => listening.once('listening', resolve))
    return `http://127.0.0.1:${(listening.address() as AddressInfo).port}`
  }
  const get = (url: string) => async (attempt: Attempt) => (await fetch(url, { signal: attempt.signal })).text()

  it('is nobody’s timeout: answers that lie here are taken', async () => {
    const url = await server(30)
    const policy = createPolicy({ attemptTimeoutMs: 300, timeoutMs: 5000, breaker: { minimumThroughput: 5 } })
    await policy.execute(get(url))
    const calls = Array.from({ length: 20 }, () => heard(policy, get(url)))
    setTimeout(() => block(600), 10)
    for (const { outcome } of calls) expect(await outcome).toBe('ok')
    for (const { verdicts } of calls) {
      expect(verdicts).toMatchObject([['answered', expect.any(Number)]])
      expect(verdicts[0]![1], 'the stall is not counted').toBeLessThan(400)
    }
    expect(policy.stats().state).toBe('closed')
  })

  it('opens no circuit by total timeouts, callers’ timeouts or slow calls', async () => {
    const url = await server(300)
    await (await fetch(url)).text()
    const breaker = { minimumThroughput: 5, slowCallDurationMs: 1500 }
    const total = createPolicy({ timeoutMs: 1500, breaker })
    const callers = createPolicy({ breaker })
    const slow = createPolicy({ timeoutMs: 10_000, breaker })
    await Promise.all([total, callers, slow].map((policy) => policy.execute(get(url))))
    const calls = Array.from({ length: 10 }, () => [
      settled(total.execute(get(url))),
      settled(callers.execute(get(url), { signal: AbortSignal.timeout(1500) })),
      settled(slow.execute(get(url))),
    ])
    setTimeout(() => block(2000), 50)
    await Promise.all(calls.flat())
    expect([total, callers, slow].map((policy) => policy.stats().state)).toEqual(['closed', 'closed', 'closed'])
  })
})

describe('provesNotSent', () => {
  const refused = failure({ code: 'ECONNREFUSED', syscall: 'connect' })
  it.each<[unknown, boolean]>([
    [refused, true],
    [failure({ code: 'ECONNREFUSED' }), true],
    [failure({ code: 'ECONNREFUSED', syscall: 'read' }), false],
    [failure({ code: 'EHOSTUNREACH', syscall: 'connect' }), true],
    [failure({ code: 'EHOSTUNREACH', syscall: 'write' }), false],
    [failure({ code: 'ENETUNREACH' }), false],
    [failure({ code: 'ENOTFOUND', syscall: 'getaddrinfo' }), true],
    [failure({ code: 'ECONNRESET', syscall: 'read' }), false],
    [failure({ code: 'ETIMEDOUT', syscall: 'connect' }), true],
    [failure({ code: 'ETIMEDOUT', syscall: 'read' }), false],
    [failure({ code: 'ETIMEDOUT' }), false],
    [new AggregateError([refused, failure({ code: 'EHOSTUNREACH', syscall: 'connect' })]), true],
    [new AggregateError([refused, failure({ code: 'ECONNRESET' })]), false],
    [new TypeError('fetch failed', { cause: refused }), true],
  ])('%o: %s', (error, expected) => {
    expect(provesNotSent(error)).toBe(expected)
  })
})

it.each<[string, PolicyOptions]>([
  ['nothing', {}],
  ['a timeout', { timeoutMs: 5000 }],
  ['retries', { timeoutMs: 5000, retry: { maxAttempts: 2, initialDelayMs: 1 } }],
  ['a hedge', { timeoutMs: 5000, hedge: { maxHedges: 1, delayMs: 1 } }],
  ['a breaker and a bulkhead', { timeoutMs: 5000, breaker: {}, bulkhead: { maxConcurrent: 1, adaptive: {} } }],
])('an error whose every property throws arrives unchanged through %s, and frees what it held', async (_, options) => {
  const hostile: Error = new Proxy(new Error('x'), { get: assertNever, has: assertNever, getPrototypeOf: assertNever })
  const policy = createPolicy(options)
  for (let i = 0; i < 3; i++) {
    let caught: unknown
    await policy
      .execute(() => Promise.reject(hostile))
      .then(
        () => {},
        (error: unknown) => void (caught = error),
      )
    expect(caught === hostile).toBe(true)
  }
  expect(policy.stats()).toMatchObject({ inFlight: 0, queued: 0 })
})

function assertNever(): never {
  throw new Error('a getter of the user')
}
