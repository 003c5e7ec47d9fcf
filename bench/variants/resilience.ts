/** One variant in a process of its own: `node resilience.ts <name>` prints what it measured as JSON. Throws when a result is wrong. */
import { createPolicy, createPolicyGroup, memoryRateLimiter } from '@platform/resilience'
import * as cockatiel from 'cockatiel'
import Opossum from 'opossum'
import { RateLimiterMemory } from 'rate-limiter-flexible'

type Work = () => Promise<unknown>
/** Calls to make, and one call that checks its own result. */
type Variant = () => Promise<{ calls: number; call: Work }>

const down = new Error('down')
const succeeds: Work = async () => 1
const nothing = (): void => {}
/** As work does that can be cancelled: it listens, and stops listening when it is done. */
const listens = async ({ signal }: { signal: AbortSignal }): Promise<number> => {
  signal.addEventListener('abort', nothing, { once: true })
  await Promise.resolve()
  signal.removeEventListener('abort', nothing)
  return 1
}
const fails: Work = async () => {
  throw down
}
const WINDOW_MS = 600_000

const expectOne = (execute: (work: Work) => Promise<unknown>) => async () => {
  if ((await execute(succeeds)) !== 1) throw new Error('wrong result')
}
const expectRejection = (execute: (work: Work) => Promise<unknown>, work: Work, isRight: (error: unknown) => boolean) => () =>
  execute(work).then(
    () => {
      throw new Error('not rejected')
    },
    (error: unknown) => {
      if (!isRight(error)) throw error
    },
  )
const isDown = (error: unknown) => error === down

const ourBreaker = (options = {}) => {
  const policy = createPolicy({ breaker: options })
  return (work: Work) => policy.execute(work)
}
const opossumBreaker = (options: Opossum.Options = {}) => {
  const breaker = new Opossum((work: Work) => work(), options)
  return { breaker, execute: (work: Work) => breaker.fire(work) as Promise<unknown> }
}
const cockatielBreaker = (threshold = 0.5, duration = 10_000) => {
  const breaker = new cockatiel.SamplingBreaker({ threshold, duration, minimumRps: 2 })
  const policy = cockatiel.circuitBreaker(cockatiel.handleAll, { halfOpenAfter: WINDOW_MS, breaker })
  return (work: Work) => policy.execute(work)
}

/** A failed call when the window holds so many successes already, with a breaker that does not open. */
async function failedCall(execute: (work: Work) => Promise<unknown>, contents: number, calls: number) {
  for (let i = 0; i < contents; i++) await execute(succeeds)
  return { calls, call: expectRejection(execute, fails, isDown) }
}

const chain = {
  timeoutMs: 5000,
  attemptTimeoutMs: 1000,
  retry: { maxAttempts: 3 },
  breaker: {},
  bulkhead: { maxConcurrent: 10, maxQueued: 10 },
}

function cockatielChain() {
  const { wrap, timeout, retry, bulkhead, handleAll, circuitBreaker, SamplingBreaker, ExponentialBackoff } = cockatiel
  const breaker = new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 2 })
  return wrap(
    timeout(5000, cockatiel.TimeoutStrategy.Aggressive),
    retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff() }),
    circuitBreaker(handleAll, { halfOpenAfter: 5000, breaker }),
    bulkhead(10, 10),
    timeout(1000, cockatiel.TimeoutStrategy.Aggressive),
  )
}

const variants: Record<string, Variant> = {
  'chain/ours': async () => {
    const policy = createPolicy(chain)
    return { calls: 200_000, call: expectOne((work) => policy.execute(work)) }
  },
  'chain/cockatiel': async () => {
    const policy = cockatielChain()
    return { calls: 40_000, call: expectOne((work) => policy.execute(work)) }
  },
  'chain with signal/ours': async () => {
    const policy = createPolicy(chain)
    return { calls: 150_000, call: expectOne(() => policy.execute(listens)) }
  },
  'chain with signal/cockatiel': async () => {
    const policy = cockatielChain()
    return { calls: 40_000, call: expectOne(() => policy.execute(listens)) }
  },
  'breaker/ours': async () => ({ calls: 300_000, call: expectOne(ourBreaker()) }),
  'breaker/opossum': async () => ({ calls: 300_000, call: expectOne(opossumBreaker().execute) }),
  'breaker/cockatiel': async () => ({ calls: 300_000, call: expectOne(cockatielBreaker()) }),
  'open/ours': async () => {
    const execute = ourBreaker({ consecutiveFailures: 1, breakDurationMs: WINDOW_MS })
    await execute(fails).catch(() => {})
    return {
      calls: 200_000,
      call: expectRejection(execute, succeeds, (error) => (error as { code: string }).code === 'ERR_RESILIENCE_CIRCUIT_OPEN'),
    }
  },
  'open/opossum': async () => {
    const { breaker, execute } = opossumBreaker({ resetTimeout: WINDOW_MS })
    breaker.open()
    return { calls: 200_000, call: expectRejection(execute, succeeds, (error) => (error as { code: string }).code === 'EOPENBREAKER') }
  },
  'open/cockatiel': async () => {
    const policy = cockatiel.circuitBreaker(cockatiel.handleAll, { halfOpenAfter: WINDOW_MS, breaker: new cockatiel.ConsecutiveBreaker(1) })
    await policy.execute(fails).catch(() => {})
    return { calls: 200_000, call: expectRejection((work) => policy.execute(work), succeeds, cockatiel.isBrokenCircuitError) }
  },
  ...Object.fromEntries(
    [1000, 50_000].flatMap((contents): [string, Variant][] => [
      [`failed@${contents}/ours`, () => failedCall(ourBreaker({ failureRatio: 1, samplingDurationMs: WINDOW_MS }), contents, 100_000)],
      [
        `failed@${contents}/opossum`,
        () => {
          const options = { rollingCountTimeout: WINDOW_MS, errorThresholdPercentage: 100, timeout: false as const }
          return failedCall(opossumBreaker(options).execute, contents, contents > 1000 ? 100 : 2000)
        },
      ],
      [`failed@${contents}/cockatiel`, () => failedCall(cockatielBreaker(0.9999, WINDOW_MS), contents, 100_000)],
    ]),
  ),
  'limit, one key/ours': async () => limit(1, ourLimit()),
  'limit, one key/flexible': async () => limit(1, flexibleLimit()),
  'limit, 10,000 keys/ours': async () => limit(10_000, ourLimit()),
  'limit, 10,000 keys/flexible': async () => limit(10_000, flexibleLimit()),
}

const ourLimit = () => {
  const limiter = memoryRateLimiter({ limit: 1e9, periodMs: 60_000 })
  return async (key: string) => (await limiter.acquire(key)).allowed
}
const flexibleLimit = () => {
  const limiter = new RateLimiterMemory({ points: 1e9, duration: 60 })
  return async (key: string) => (await limiter.consume(key)).remainingPoints > 0
}
function limit(keys: number, take: (key: string) => Promise<boolean>) {
  const names = Array.from({ length: keys }, (_, i) => `key-${i}`)
  let next = 0
  const call = async () => {
    next = next + 1 === keys ? 0 : next + 1
    if (!(await take(names[next]!))) throw new Error('not allowed')
  }
  return { calls: 200_000, call }
}

/** 6,000 calls of up to three attempts, each of which fails with this probability: calls made per call offered, and successes. */
async function retryLoad(library: string, failing: number): Promise<{ load: number; succeeded: number }> {
  let made = 0
  let succeeded = 0
  let seed = 1
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
  const work: Work = async () => {
    made++
    if (random() < failing) throw down
  }
  const ours = createPolicy({ retry: { maxAttempts: 3, initialDelayMs: 0 } })
  const naive = cockatiel.retry(cockatiel.handleAll, { maxAttempts: 2, backoff: new cockatiel.ConstantBackoff(0) })
  const offered = 6000
  for (let i = 0; i < offered; i += 50) {
    const calls = Array.from({ length: 50 }, () => (library === 'ours' ? ours.execute(work) : naive.execute(work)))
    for (const { status } of await Promise.allSettled(calls)) if (status === 'fulfilled') succeeded++
  }
  return { load: made / offered, succeeded: (succeeded / offered) * 100 }
}

/** Heap that a key of a group with a breaker takes, after a call. Needs --expose-gc. */
async function bytesAKey(): Promise<number> {
  const heap = (): number => {
    globalThis.gc!()
    globalThis.gc!()
    return process.memoryUsage().heapUsed
  }
  const before = heap()
  const group = createPolicyGroup({ breaker: {} })
  for (let i = 0; i < 20_000; i++) await group.for(`tenant-${i}`).execute(succeeds)
  return (heap() - before) / group.size
}

const [name = '', quick] = process.argv.slice(2)
const [kind, library] = name.split('/') as [string, string]
if (kind === 'memory') {
  console.log(JSON.stringify({ bytes: await bytesAKey() }))
} else if (kind.startsWith('retry@')) {
  console.log(JSON.stringify(await retryLoad(library, Number(kind.slice('retry@'.length)))))
} else {
  const { calls, call } = await variants[name]!()
  const measured = quick === undefined ? calls : Math.ceil(calls / 4)
  for (let i = 0; i < Math.min(20_000, calls / 4); i++) await call()
  const before = process.cpuUsage()
  for (let i = 0; i < measured; i++) await call()
  const { user, system } = process.cpuUsage(before)
  console.log(JSON.stringify({ cpuUs: (user + system) / measured }))
}
process.exit()
