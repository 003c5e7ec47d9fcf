import { levelUntil, planStop } from './budget.ts'
import { ServiceError } from './errors.ts'
import type { Node } from './graph.ts'
import type { LoggerLike } from './logger-like.ts'

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

type Phase = 'quiesce' | 'drain' | 'close'

/** `levels` in starting order. `fast` aborted: nothing is drained any more, and closing gets one second. */
export async function stopComponents(options: {
  reason: string
  levels: readonly (readonly Node[])[]
  gracePeriodMs: number
  fast: AbortSignal
  logger: LoggerLike
}): Promise<StopReport> {
  const { levels, fast, logger } = options
  const plan = planStop(performance.now(), options.gracePeriodMs)
  const reversed = [...levels].reverse()
  const cut = new Set<string>()
  const failed: { component: string; phase: string; error: unknown }[] = []
  const phases: { name: string; durationMs: number }[] = []
  let fastUntil: number | undefined
  const noteFast = () => {
    fastUntil = performance.now() + fastCloseMs
  }
  if (fast.aborted) noteFast()
  else fast.addEventListener('abort', noteFast)

  const drainUntil = (level: number) => levelUntil(performance.now(), plan.drainUntil, level, reversed.length)
  const closeUntil = (level: number) =>
    levelUntil(performance.now(), Math.min(plan.closeUntil, fastUntil ?? plan.closeUntil), level, reversed.length)

  async function within(node: Node, phase: Phase, level: number, work: (signal: AbortSignal) => void | Promise<void>): Promise<void> {
    const giveUp = new AbortController()
    const late = new ServiceError('ERR_SERVICE_TIMEOUT', `${phase} of component "${node.name}" ran into its deadline`, {
      component: node.name,
    })
    const until = phase === 'quiesce' ? plan.quiesceUntil : phase === 'drain' ? drainUntil(level) : closeUntil(level)
    let timer: NodeJS.Timeout | undefined
    let onFast: (() => void) | undefined
    const deadline = new Promise<'late'>((resolve) => {
      const end = () => {
        giveUp.abort(late)
        resolve('late')
      }
      timer = setTimeout(end, Math.max(0, until - performance.now()))
      onFast = () => {
        clearTimeout(timer)
        timer = setTimeout(end, phase === 'close' ? Math.max(0, closeUntil(level) - performance.now()) : 0)
      }
      if (fast.aborted) onFast()
      else fast.addEventListener('abort', onFast)
    })
    try {
      const running = (async () => work(giveUp.signal))()
      running.catch(() => {})
      const outcome = await Promise.race([running, deadline])
      if (outcome !== 'late') return
      cut.add(node.name)
      logger.warn({ component: node.name, phase }, 'component was not done at its deadline')
    } catch (error) {
      if (giveUp.signal.aborted) {
        cut.add(node.name)
        logger.warn({ component: node.name, phase, err: error }, 'component was not done at its deadline')
      } else {
        failed.push({ component: node.name, phase, error })
        logger.error({ component: node.name, phase, err: error }, 'component failed to stop')
      }
    } finally {
      clearTimeout(timer)
      if (onFast) fast.removeEventListener('abort', onFast)
    }
  }

  async function phase(name: Phase, run: () => Promise<unknown>): Promise<void> {
    const from = performance.now()
    await run()
    phases.push({ name, durationMs: Math.round(performance.now() - from) })
  }

  await phase('quiesce', () => Promise.all(levels.flat().map((node) => within(node, 'quiesce', 0, () => node.component.quiesce?.()))))
  await phase('drain', async () => {
    for (const [index, level] of reversed.entries()) {
      await Promise.all(level.map((node) => within(node, 'drain', index, (signal) => node.component.drain?.({ signal }))))
    }
  })
  await phase('close', async () => {
    for (const [index, level] of reversed.entries()) {
      await Promise.all(
        level.map((node) =>
          within(node, 'close', index, () => {
            // The component's own cut comes a little before ours, so that it can still clean up.
            const left = Math.max(0, closeUntil(index) - performance.now())
            return node.component.close({ timeoutMs: Math.round(left - Math.min(500, left * 0.2)) })
          }),
        ),
      )
    }
  })
  fast.removeEventListener('abort', noteFast)

  let requestsAfterSignal = 0
  for (const { component } of levels.flat()) requestsAfterSignal += requestsAfterQuiesce(component)
  return { reason: options.reason, phases, requestsAfterSignal, cut: [...cut], failed }
}

function requestsAfterQuiesce(component: object): number {
  if (!('stats' in component) || typeof component.stats !== 'function') return 0
  const stats = component.stats() as { requestsAfterQuiesce?: unknown } | undefined
  return typeof stats?.requestsAfterQuiesce === 'number' ? stats.requestsAfterQuiesce : 0
}
