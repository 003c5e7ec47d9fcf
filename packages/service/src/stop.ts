import { guarded } from '@platform/kernel'
import { levelUntil, planStop } from './budget.ts'
import type { Component } from './component.ts'
import { ServiceError } from './errors.ts'
import type { Node } from './graph.ts'
import type { LoggerLike } from './logger-like.ts'
import { callUntil } from './stop-call.ts'

export interface StopReport {
  readonly reason: string
  /** quiesce, drain, close, in this order. */
  readonly phases: readonly { readonly name: string; readonly durationMs: number }[]
  /** Requests that arrived after the stop began and were served: the sum of `stats().requestsAfterQuiesce` of the components. */
  readonly requestsAfterSignal: number
  /** Components that were not done at their deadline: what they had in flight is lost. */
  readonly cut: readonly string[]
  /** Components whose quiesce, drain or close rejected. */
  readonly failed: readonly { readonly component: string; readonly phase: string; readonly error: unknown }[]
}

/** What is left to wait for once someone asked for a fast stop. */
const fastCloseMs = 1_000

export interface Stop {
  readonly reason: string
  /** In starting order. */
  readonly levels: readonly (readonly Node[])[]
  readonly gracePeriodMs: number
  /** Aborted: nothing is drained any more, and closing gets one second. */
  readonly fast: AbortSignal
  readonly logger: LoggerLike
}

/** One after the other: the levels of a phase in its order, the components of a level at the same time. */
interface Phase {
  readonly name: 'quiesce' | 'drain' | 'close'
  readonly levels: readonly (readonly Node[])[]
  /** When the phase must be over, fast or not. */
  until(): number
  call(component: Component, signal: AbortSignal, leftMs: number): unknown
}

/** Never rejects. */
export async function stopComponents({ reason, levels, gracePeriodMs, fast, logger }: Stop): Promise<StopReport> {
  const plan = planStop(performance.now(), gracePeriodMs)
  const reversed = levels.toReversed()
  let fastAt = fast.aborted ? performance.now() : Infinity
  fast.addEventListener('abort', () => (fastAt = performance.now()), { once: true })

  const phases: readonly Phase[] = [
    {
      name: 'quiesce',
      levels: [levels.flat()],
      until: () => Math.min(plan.quiesceUntil, fastAt),
      call: (component) => component.quiesce?.(),
    },
    {
      name: 'drain',
      levels: reversed,
      until: () => Math.min(plan.drainUntil, fastAt),
      call: (component, signal, timeoutMs) => component.drain?.({ signal, timeoutMs }),
    },
    {
      name: 'close',
      levels: reversed,
      until: () => Math.min(plan.closeUntil, fastAt + fastCloseMs),
      // The component's own cut comes a little before ours, so that it can still clean up.
      call: (component, _signal, leftMs) => component.close({ timeoutMs: Math.round(leftMs - Math.min(500, leftMs * 0.2)) }),
    },
  ]

  const cut = new Set<string>()
  const failed: { component: string; phase: string; error: unknown }[] = []

  async function stopOne(phase: Phase, { name, component }: Node, until: () => number): Promise<void> {
    const late = new ServiceError('ERR_SERVICE_TIMEOUT', `${phase.name} of component "${name}" ran into its deadline`, { component: name })
    const leftMs = Math.max(0, until() - performance.now())
    const outcome = await callUntil((signal) => phase.call(component, signal, leftMs), { until, fast, late })
    if (outcome.kind === 'done') return
    const fields = { component: name, phase: phase.name, err: outcome.error }
    if (outcome.kind === 'cut') {
      cut.add(name)
      logger.warn(fields, 'component was not done at its deadline')
    } else {
      failed.push({ component: name, phase: phase.name, error: outcome.error })
      logger.error(fields, 'component failed to stop')
    }
  }

  const durations: { name: string; durationMs: number }[] = []
  for (const phase of phases) {
    const from = performance.now()
    for (const [index, level] of phase.levels.entries()) {
      const until = (): number => levelUntil(performance.now(), phase.until(), index, phase.levels.length)
      await Promise.all(level.map((node) => stopOne(phase, node, until)))
    }
    durations.push({ name: phase.name, durationMs: Math.round(performance.now() - from) })
  }

  const requestsAfterSignal = levels.flat().reduce((sum, { component }) => sum + requestsAfterQuiesce(component), 0)
  return { reason, phases: durations, requestsAfterSignal, cut: [...cut], failed }
}

function requestsAfterQuiesce(component: object): number {
  const stats = guarded(() => (component as { stats?: () => unknown }).stats?.())
  const count = guarded(() => (stats as { requestsAfterQuiesce?: unknown } | undefined)?.requestsAfterQuiesce)
  return Number.isFinite(count) ? (count as number) : 0
}
