import { ServiceError } from './errors.ts'
import type { Node } from './graph.ts'
import { recordComponentStart } from './instrumentation.ts'
import type { LoggerLike } from './logger-like.ts'

/** How long the others may take to settle once the start is given up; whatever hangs longer is closed while it hangs. */
const settleMs = 1_000

/** Level by level, each in parallel. The first failure aborts the others; rejects with one error that names the component. */
export async function startComponents(levels: readonly (readonly Node[])[], signal: AbortSignal, logger: LoggerLike): Promise<void> {
  for (const level of levels) {
    signal.throwIfAborted()
    const others = new AbortController()
    const startSignal = AbortSignal.any([signal, others.signal])
    const work = level.map(async ({ name, component }) => {
      if (!component.ready) return
      const from = performance.now()
      try {
        await component.ready({ signal: startSignal })
      } catch (cause) {
        if (startSignal.aborted) throw startSignal.reason
        throw new ServiceError('ERR_SERVICE_START_FAILED', `component "${name}" did not become ready: ${messageOf(cause)}`, {
          component: name,
          cause,
        })
      }
      const durationMs = performance.now() - from
      recordComponentStart(name, durationMs)
      logger.debug({ component: name, durationMs: Math.round(durationMs) }, 'component is ready')
    })
    try {
      await untilAborted(Promise.all(work), signal)
    } catch (error) {
      others.abort(error)
      await settled(work)
      throw error
    }
  }
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason)
    if (signal.aborted) aborted()
    signal.addEventListener('abort', aborted)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted))
  })
}

async function settled(work: readonly Promise<unknown>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, settleMs)
  })
  await Promise.race([Promise.allSettled(work), late])
  clearTimeout(timer)
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'not an Error'
}
