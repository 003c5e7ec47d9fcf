import { backgroundTimeout } from '@platform/kernel'
import { type CheckReport, messages } from './check.ts'
import { HealthError } from './errors.ts'
import type { LoggerLike, ResolvedCheck } from './options.ts'
import type { Slots } from './slots.ts'
import { type Outcome, Verdict } from './verdict.ts'

/** A deadline that fires later than this many of itself was our own stall: the answer may already be waiting to be read. */
const stallFactor = 1.5
/** Before the second run of what has not passed yet, which may be about to connect; doubled up to the interval. */
const firstRetryMs = 100

/**
 * One check in the background. At most one run at a time: a run that ignores its signal and hangs keeps its place, and every interval that
 * passes meanwhile counts as one more timeout, so that a hanging dependency never collects calls.
 */
export class CheckLoop {
  readonly check: ResolvedCheck
  readonly #logger: LoggerLike
  readonly #slots: Slots
  readonly #changed: () => void
  readonly #verdict: Verdict
  readonly #closed = new AbortController()
  #running: Promise<void> | undefined
  /** Until the first run that does not fail. */
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined

  constructor(check: ResolvedCheck, { logger, slots, changed }: { logger: LoggerLike; slots: Slots; changed: () => void }) {
    this.check = check
    this.#logger = logger
    this.#slots = slots
    this.#changed = changed
    this.#verdict = new Verdict(check)
    this.#schedule(0)
  }

  report(): CheckReport {
    return this.#verdict.report()
  }

  setDamping(on: boolean): void {
    this.#verdict.damping = on
  }

  /** Runs now unless a run is under way. */
  runNow(): void {
    if (!this.#running) this.#schedule(0)
  }

  /** Aborts the run in flight and resolves when it has settled. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#closed.abort(new HealthError('ERR_HEALTH_CLOSED', 'health was closed'))
    await this.#running
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    if (!this.#closed.signal.aborted) this.#timer = backgroundTimeout(() => this.#tick(), delayMs)
  }

  #tick(): void {
    if (this.#running) {
      this.#record(this.#timedOut())
      this.#schedule(this.check.intervalMs)
      return
    }
    this.#running = this.#run().finally(() => {
      this.#running = undefined
    })
  }

  async #run(): Promise<void> {
    const release = await this.#slots.take(this.#closed.signal)
    // Told first: whatever comes of the run after its deadline is late.
    let told = false
    const tell = (outcome: Outcome): void => {
      if (told || this.#closed.signal.aborted) return
      told = true
      clearTimeout(deadline)
      release()
      this.#record(outcome)
      this.#schedule(this.#pauseAfter(outcome) * (0.9 + 0.2 * Math.random()))
    }
    const abort = new AbortController()
    const giveUp = (): void => abort.abort(this.#closed.signal.reason)
    this.#closed.signal.addEventListener('abort', giveUp, { once: true })
    let deadline = this.#deadline(performance.now(), tell, abort, (again) => (deadline = again))
    try {
      this.#closed.signal.throwIfAborted()
      tell(outcomeOf(await this.check.run({ signal: abort.signal })))
    } catch (error) {
      tell({ status: 'fail', message: messages.failed, cause: error })
    } finally {
      clearTimeout(deadline)
      release()
      this.#closed.signal.removeEventListener('abort', giveUp)
    }
  }

  #pauseAfter({ status }: Outcome): number {
    if (status !== 'fail') this.#retryMs = this.check.intervalMs
    const pauseMs = Math.min(this.check.intervalMs, this.#retryMs)
    this.#retryMs *= 2
    return pauseMs
  }

  #deadline(
    from: number,
    tell: (outcome: Outcome) => void,
    abort: AbortController,
    again: (timer: NodeJS.Timeout) => void,
  ): NodeJS.Timeout {
    return backgroundTimeout(() => {
      const now = performance.now()
      if (now - from > this.check.timeoutMs * stallFactor + 50) return again(this.#deadline(now, tell, abort, again))
      const outcome = this.#timedOut()
      tell(outcome)
      abort.abort(outcome.cause)
    }, this.check.timeoutMs)
  }

  #timedOut(): Outcome {
    const cause = new HealthError('ERR_HEALTH_CHECK_TIMEOUT', `check ${this.check.name} did not answer within ${this.check.timeoutMs} ms`)
    return { status: 'fail', message: messages.timeout, cause }
  }

  #record(outcome: Outcome): void {
    const effect = this.#verdict.record(outcome)
    if (effect.kind === 'same') return
    const { name, kind } = this.check
    if (effect.kind === 'not counted') {
      const { streak, needed } = effect
      this.#logger.debug({ check: name, err: outcome.cause, streak, needed }, 'health check result not counted yet')
      return
    }
    const { from, to } = effect
    const fields = { check: name, kind, from, to, err: outcome.cause }
    if (!this.#verdict.damping || (from === undefined && to === 'pass')) this.#logger.debug(fields, 'health check changed')
    else if (to === 'pass') this.#logger.info(fields, 'health check recovered')
    else this.#logger.warn(fields, 'health check changed')
    this.#changed()
  }
}

/** Most checks resolve to whatever they asked for. One that says it failed, in the words of this package or of terminus, is believed. */
function outcomeOf(result: unknown): Outcome {
  const { status, message } = (typeof result === 'object' && result !== null ? result : {}) as { status?: unknown; message?: unknown }
  if (status === 'warn') return { status: 'warn', message: messages.degraded, cause: message }
  if (status === 'fail' || status === 'down')
    return { status: 'fail', message: messages.failed, cause: new Error(`it resolved to "${status}"`) }
  return passed
}

const passed: Outcome = { status: 'pass', message: undefined }
