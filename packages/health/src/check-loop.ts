import { type CheckReport, messages, type Status } from './check.ts'
import { HealthError } from './errors.ts'
import type { LoggerLike, ResolvedCheck } from './options.ts'

/** Results older than this many intervals (plus one timeout) are called stale. */
const staleIntervals = 3

type Outcome = { status: Status; message: string | undefined; cause?: unknown }

export interface CheckLoop {
  readonly check: ResolvedCheck
  report(): CheckReport
  /** Damping off (while starting) or on. */
  setDamping(on: boolean): void
  /** Runs now unless a run is under way. */
  runNow(): void
  /** Aborts the run in flight and resolves when it has settled. */
  stop(): Promise<void>
}

/**
 * One check in the background. At most one run at a time: a run that ignores its signal and hangs keeps its place, and every interval that
 * passes meanwhile counts as one more timeout, so that a hanging dependency never collects calls.
 */
export function startCheckLoop(check: ResolvedCheck, logger: LoggerLike | undefined, changed: () => void): CheckLoop {
  const createdAt = performance.now()
  let status: Status | undefined
  let message: string | undefined
  let finishedAt: number | undefined
  let streak = 0
  let damping = false
  let stopped = false
  let running: Promise<void> | undefined
  let controller: AbortController | undefined
  let timer: NodeJS.Timeout | undefined

  function record(outcome: Outcome): void {
    finishedAt = performance.now()
    const wasFailing = status === 'fail'
    const failing = outcome.status === 'fail'
    if (status === undefined || !damping || failing === wasFailing) streak = 0
    else streak += 1

    const needed = failing ? check.fall : check.rise
    if (streak > 0 && streak < needed) {
      message = failing ? messages.falling : messages.rising
      logger?.debug({ check: check.name, err: outcome.cause, streak, needed }, 'health check result not counted yet')
      return
    }
    streak = 0
    const before = status
    status = outcome.status
    message = outcome.message
    if (before === status) return
    const fields = { check: check.name, kind: check.kind, from: before, to: status, err: outcome.cause }
    if (!damping || (before === undefined && status === 'pass')) logger?.debug(fields, 'health check changed')
    else if (status === 'pass') logger?.info(fields, 'health check recovered')
    else logger?.warn(fields, 'health check changed')
    changed()
  }

  function timedOut(): Outcome {
    const cause = new HealthError('ERR_HEALTH_CHECK_TIMEOUT', `check ${check.name} did not answer within ${check.timeoutMs} ms`)
    return { status: 'fail', message: messages.timeout, cause }
  }

  async function runOnce(): Promise<void> {
    const abort = new AbortController()
    controller = abort
    let open = true
    const settle = (outcome: Outcome) => {
      if (!open) return
      open = false
      clearTimeout(deadline)
      if (!stopped) record(outcome)
      schedule(check.intervalMs * (0.9 + 0.2 * Math.random()))
    }
    const deadline = setTimeout(() => {
      const outcome = timedOut()
      settle(outcome)
      abort.abort(outcome.cause)
    }, check.timeoutMs)
    deadline.unref()
    abort.signal.addEventListener('abort', () => {
      open = false
      clearTimeout(deadline)
    })
    try {
      const result = await check.run({ signal: abort.signal })
      settle(
        result?.status === 'warn'
          ? { status: 'warn', message: messages.degraded, cause: result.message }
          : { status: 'pass', message: undefined },
      )
    } catch (error) {
      settle({ status: 'fail', message: messages.failed, cause: error })
    }
  }

  function tick(): void {
    if (stopped) return
    if (running) {
      record(timedOut())
      schedule(check.intervalMs)
      return
    }
    running = runOnce().finally(() => {
      running = undefined
    })
  }

  function schedule(delayMs: number): void {
    clearTimeout(timer)
    if (stopped) return
    timer = setTimeout(tick, delayMs)
    timer.unref()
  }

  schedule(0)

  return {
    check,
    report() {
      const ageMs = Math.round(performance.now() - (finishedAt ?? createdAt))
      if (status === undefined) return { status: check.kind === 'critical' ? 'fail' : 'warn', ageMs, message: messages.unknown }
      const stale = ageMs > staleIntervals * check.intervalMs + check.timeoutMs
      if (stale) return { status: status === 'pass' ? 'warn' : status, ageMs, message: messages.stale }
      return message === undefined ? { status, ageMs } : { status, ageMs, message }
    },
    setDamping(on) {
      damping = on
    },
    runNow() {
      if (!running) schedule(0)
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      controller?.abort(new HealthError('ERR_HEALTH_CLOSED', 'health was closed'))
      await running
    },
  }
}
