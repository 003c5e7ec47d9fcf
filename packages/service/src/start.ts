import { orAborted, settlesWithin } from '@platform/kernel'
import { ServiceError } from './errors.ts'
import type { Node } from './graph.ts'
import { recordComponentStart } from './instrumentation.ts'
import type { LoggerLike } from './logger-like.ts'

/** How long the others may take to settle once the start is given up; whatever hangs longer is closed while it hangs. */
const settleMs = 1_000

export interface Start {
  readonly levels: readonly (readonly Node[])[]
  readonly signal: AbortSignal
  readonly logger: LoggerLike
  /** Filled with the names of those that are not ready yet, for whoever wants to say what the start waits for. */
  readonly waitingFor: Set<string>
}

export interface StartedComponent {
  readonly component: string
  readonly durationMs: number
}

/**
 * Level by level, each in parallel. The first failure aborts the others; rejects with one error that names the component. Resolves to what the
 * start waited for: the slowest of each level.
 */
export async function startComponents({ levels, signal, logger, waitingFor }: Start): Promise<StartedComponent[]> {
  const criticalPath: StartedComponent[] = []
  for (const level of levels) {
    signal.throwIfAborted()
    const others = new AbortController()
    const startSignal = AbortSignal.any([signal, others.signal])
    let slowest: StartedComponent | undefined
    const work = level.map(async ({ name, component }) => {
      if (!component.ready) return
      const from = performance.now()
      waitingFor.add(name)
      try {
        await component.ready({ signal: startSignal })
      } catch (cause) {
        if (startSignal.aborted) throw startSignal.reason
        const message = `component "${name}" did not become ready: ${messageOf(cause)}`
        throw new ServiceError('ERR_SERVICE_START_FAILED', message, { component: name, cause })
      }
      waitingFor.delete(name)
      const durationMs = performance.now() - from
      recordComponentStart(name, durationMs)
      logger.debug({ component: name, durationMs: Math.round(durationMs) }, 'component is ready')
      // The last of its level to be so.
      slowest = { component: name, durationMs: Math.round(durationMs) }
    })
    try {
      await orAborted(Promise.all(work), signal)
    } catch (error) {
      others.abort(error)
      await settlesWithin(Promise.allSettled(work), settleMs)
      throw error
    }
    if (slowest) criticalPath.push(slowest)
  }
  return criticalPath
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'not an Error'
}
