import { durationOption, integerOption, knownOptions, numberOption } from '@platform/kernel'
import { createPolicy } from '../create-policy.ts'
import { deadlineHeaders, deadlineHook, runInCallContext } from '../deadline.ts'
import { isLocalRejection, refuseOption as refuse } from '../errors.ts'
import type { PolicyOptions } from '../options.ts'
import type { Attempt, Policy } from '../policy.ts'
import { Downstream, type ModelledDownstream } from './modelled-downstream.ts'
import { SimulationReport } from './simulation-report.ts'
import { VirtualClock } from './virtual-clock.ts'

export interface SimulationOptions {
  /** The policy under test; with several, one service each, the outermost first, the last calls the downstream. */
  policy: PolicyOptions | readonly PolicyOptions[]
  downstream: ModelledDownstream
  /** Mean; calls arrive at random, independent of each other and of the answers. */
  callsPerSecond: number
  durationMs: number
  /** `idempotent` of every call. Default true. */
  idempotent?: boolean | undefined
  /** For arrivals, latencies and jitter. Default: by chance; the report names it. */
  seed?: number | undefined
}

/** After the last arrival: what has not ended by then counts as unfinished. */
const PATIENCE_MS = 120_000
const known = ['policy', 'downstream', 'callsPerSecond', 'durationMs', 'idempotent', 'seed']

let previous: Promise<unknown> = Promise.resolve()

/**
 * Runs policies against a modelled downstream in virtual time: minutes take seconds, and the same seed gives the same report.
 * Timers, `performance.now` and `Math.random` of the whole process are virtual meanwhile; simulations wait for each other.
 */
export function simulate(options: SimulationOptions): Promise<SimulationReport> {
  knownOptions(refuse, '', options, known)
  knownOptions(refuse, 'downstream', options.downstream, ['latencyMs', 'capacity', 'outages'])
  durationOption(refuse, 'downstream.latencyMs', options.downstream.latencyMs, 0)
  if (options.downstream.capacity !== undefined) numberOption(refuse, 'downstream.capacity', options.downstream.capacity, 1)
  numberOption(refuse, 'callsPerSecond', options.callsPerSecond, Number.MIN_VALUE)
  durationOption(refuse, 'durationMs', options.durationMs, 1)
  const { seed = Math.floor(Math.random() * 2 ** 32) } = options
  integerOption(refuse, 'seed', seed, 0, 2 ** 32)
  const policies = Array.isArray(options.policy) ? (options.policy as readonly PolicyOptions[]) : [options.policy as PolicyOptions]
  if (policies.length === 0) throw refuse('policy', 'must name at least one policy')
  const running = previous.then(() => run(options, policies, seed))
  previous = running.catch(() => {})
  return running
}

async function run(options: SimulationOptions, policies: readonly PolicyOptions[], seed: number): Promise<SimulationReport> {
  const random = mulberry32(seed)
  const clock = new VirtualClock(random)
  const uninstall = clock.install()
  try {
    const startedAt = clock.now
    const elapsedMs = (): number => clock.now - startedAt
    const report = new SimulationReport(seed, options.durationMs, options.downstream.outages ?? [])
    const downstream = new Downstream(options.downstream, elapsedMs)
    const services = policies.map((policy) => createPolicy(policy))
    let open = 0
    const offer = async (): Promise<void> => {
      const offeredAtMs = elapsedMs()
      open++
      try {
        await handle(services, 0, { idempotent: options.idempotent }, (signal) => {
          report.arrived(elapsedMs())
          return downstream.call(signal)
        })
        report.ended(offeredAtMs, 'succeeded', elapsedMs())
      } catch (error) {
        report.ended(offeredAtMs, isLocalRejection(error) ? 'rejected' : 'failed', elapsedMs())
      }
      open--
    }
    let nextAt = 0
    const arrive = (): void => {
      void offer()
      nextAt += (-Math.log(1 - random()) * 1000) / options.callsPerSecond
      if (nextAt < options.durationMs) clock.schedule(nextAt - elapsedMs(), arrive)
    }
    clock.schedule(0, arrive)
    await clock.runUntil(startedAt + options.durationMs)
    await clock.runUntil(clock.now + PATIENCE_MS, () => open === 0)
    report.unfinished = open
    return report
  } finally {
    uninstall()
  }
}

/** A request at a service: what it hands on travels in headers, as between processes. */
function handle(
  services: readonly Policy[],
  index: number,
  options: { idempotent: boolean | undefined; signal?: AbortSignal },
  leaf: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  return services[index]!.execute(({ signal }: Attempt) => {
    const headers: Record<string, string> = {}
    deadlineHeaders(headers)
    if (index + 1 === services.length) return leaf(signal)
    const arrive = (): Promise<number> =>
      deadlineHook({ method: 'GET', url: '/', headers }, () => handle(services, index + 1, { ...options, signal }, leaf))
    return runInCallContext({ deadlineAt: undefined, attempt: 1 }, arrive, undefined)
  }, options)
}

function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
