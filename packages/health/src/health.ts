import type { RequestListener } from 'node:http'
import type { CheckReport, Report, Status } from './check.ts'
import { guarded, longestTimerMs, settlesWithin } from '@platform/kernel'
import { CheckLoop } from './check-loop.ts'
import { HealthError } from './errors.ts'
import { type Heartbeat, Heartbeats } from './heartbeats.ts'
import { fetchHandler, nodeHandler } from './http.ts'
import { observeChecks } from './instrumentation.ts'
import { type HealthOptions, resolveOptions } from './options.ts'
import { createSlots } from './slots.ts'

export type HealthState = 'starting' | 'ready' | 'draining' | 'stopped'

export interface Health {
  /**
   * Fails when a loop with a heartbeat is silent, else passes whenever it can be answered: a dependency must never get a process killed. A
   * blocked event loop shows as the prober's timeout.
   */
  liveness(): Report
  /** Fails unless the state is `ready` and every critical check passes; warns for shared ones. Reads memory only. */
  readiness(): Report & { readonly state: HealthState }
  /** Fails until the state was `ready` once, passes ever after. */
  startup(): Report
  /**
   * A loop without which this process is of no use (it polls, it consumes): liveness fails when it has not called `beat` for `withinMs`, at least
   * 100. Not for what waits for others: a dependency that is away must not restart anybody.
   */
  heartbeat(name: string, options: { withinMs: number }): Heartbeat
  /** Driven by `@platform/service`; by hand without it. Moves forward only. */
  setState(state: HealthState): void
  /** For node:http. Paths /live /ready /started. */
  handler: RequestListener
  /** For Request → Response. */
  fetchHandler(request: Request): Response
  /** Resolves when every critical check has passed once. */
  ready(options?: { signal?: AbortSignal }): Promise<void>
  /** Rejects with ERR_HEALTH_NOT_READY when readiness fails, resolves to a warning when it warns. */
  check(options?: { signal?: AbortSignal }): Promise<void | { status: 'warn'; message: string }>
  /** Calls back after every change of a check's status or of the state, with the names of the critical checks that fail. Returns the way to end it. */
  onChange(listener: (change: { readonly state: HealthState; readonly failing: readonly string[] }) => void): () => void
  stats(): { state: HealthState; pass: number; warn: number; fail: number }
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const order: readonly HealthState[] = ['starting', 'ready', 'draining', 'stopped']

export function createHealth(options: HealthOptions): Health {
  const { checks, logger, maxConcurrent } = resolveOptions(options)
  const waiters = new Set<() => void>()
  const slots = createSlots(maxConcurrent)
  const heartbeats = new Heartbeats()
  const observers = new Set<(change: { state: HealthState; failing: readonly string[] }) => void>()
  const changed = (): void => {
    waiters.forEach((wake) => wake())
    for (const observer of observers) guarded(() => observer({ state, failing: failing(reports()) }))
  }
  const loops = checks.map((check) => new CheckLoop(check, { logger, slots, changed }))
  const unobserve = observeChecks(() => loops.map((loop) => [loop.check.name, loop.report().status] as const))
  let state: HealthState = 'starting'
  let started = false
  let closing: Promise<void> | undefined

  function reports(): Record<string, CheckReport> {
    return Object.fromEntries(loops.map((loop) => [loop.check.name, loop.report()]))
  }

  function failing(shown: Readonly<Record<string, CheckReport>>): string[] {
    return loops.filter(({ check }) => check.kind === 'critical' && shown[check.name]?.status === 'fail').map(({ check }) => check.name)
  }

  function readiness(): Report & { readonly state: HealthState } {
    const shown = reports()
    const unwell = loops.some(({ check }) => check.kind !== 'optional' && shown[check.name]?.status !== 'pass')
    const status: Status = state !== 'ready' || failing(shown).length > 0 ? 'fail' : unwell ? 'warn' : 'pass'
    return { status, state, checks: shown }
  }

  function liveness(): Report {
    const shown = heartbeats.reports()
    return { status: Object.values(shown).some(({ status }) => status === 'fail') ? 'fail' : 'pass', checks: shown }
  }

  const probes = {
    liveness,
    readiness,
    startup: (): Report => ({ status: started ? 'pass' : 'fail', checks: {} }),
  }

  function ready({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      // The checks let the process end; who waits for them does not.
      const hold = setInterval(() => {}, longestTimerMs)
      const finish = (settle: () => void) => {
        clearInterval(hold)
        waiters.delete(look)
        signal?.removeEventListener('abort', aborted)
        settle()
      }
      const aborted = () => finish(() => reject(signal?.reason))
      const look = () => {
        if (closing) finish(() => reject(new HealthError('ERR_HEALTH_CLOSED', 'health was closed')))
        else if (failing(reports()).length === 0) finish(resolve)
      }
      if (signal?.aborted) return aborted()
      signal?.addEventListener('abort', aborted, { once: true })
      waiters.add(look)
      look()
    })
  }

  function close({ timeoutMs = 1_000 }: { timeoutMs?: number } = {}): Promise<void> {
    closing ??= (async () => {
      unobserve()
      heartbeats.close()
      await settlesWithin(Promise.all(loops.map((loop) => loop.stop())), timeoutMs)
    })()
    waiters.forEach((wake) => wake())
    return closing
  }

  return {
    ...probes,
    heartbeat: (name, options) => heartbeats.add(name, options),
    handler: nodeHandler(probes),
    fetchHandler: fetchHandler(probes),
    setState(next) {
      if (!order.includes(next)) throw new HealthError('ERR_HEALTH_OPTION', `setState: state must be one of ${order.join(', ')}`)
      if (order.indexOf(next) <= order.indexOf(state)) return
      logger.debug({ from: state, to: next }, 'health state changed')
      state = next
      for (const loop of loops) loop.setDamping(state === 'ready')
      if (state === 'ready') {
        started = true
        for (const loop of loops) if (loop.report().status !== 'pass') loop.runNow()
      }
      changed()
    },
    onChange(listener) {
      const own: typeof listener = (change) => listener(change)
      observers.add(own)
      return () => observers.delete(own)
    },
    ready,
    async check() {
      const { status, checks: shown } = readiness()
      if (status === 'fail') throw new HealthError('ERR_HEALTH_NOT_READY', `not ready (state ${state})`, { failing: failing(shown) })
      if (status === 'warn') return { status: 'warn', message: 'a check is not well' }
      return undefined
    },
    stats() {
      const counts = { pass: 0, warn: 0, fail: 0 }
      for (const loop of loops) counts[loop.report().status] += 1
      return { state, ...counts }
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}
