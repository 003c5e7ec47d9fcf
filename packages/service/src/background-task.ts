import type { Health, Heartbeat } from '@platform/health'
import {
  backgroundPause,
  backoffMs,
  durationOption,
  functionOption,
  guarded,
  knownOptions,
  safeLogger,
  settlesWithin,
} from '@platform/kernel'
import type { Component } from './component.ts'
import { ServiceError } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'

export interface BackgroundTaskOptions {
  /** Pause before it is run again after it ended, at most; doubled each time, with full jitter. Default 1 000. */
  initialDelayMs?: number | undefined
  /** Bound of the pause. Default 60 000. A run that lasted this long begins with the short pause again. */
  maxDelayMs?: number | undefined
  /** It must call `beat` at least this often, at least 100; else the service's liveness fails. Default: it need not. */
  heartbeatMs?: number | undefined
  logger?: LoggerLike | undefined
}

export interface TaskContext {
  /** Aborts when the service stops: end then, after what is in hand. */
  readonly signal: AbortSignal
  /** Still alive; see `heartbeatMs`. */
  beat(): void
}

export interface BackgroundTask extends Component {
  ready(): Promise<void>
  /** Warns while the task has failed and waits to be run again. */
  check(): Promise<void | { status: 'warn'; message: string }>
  quiesce(): void
  drain(options?: { timeoutMs?: number }): Promise<void>
  stats(): { running: boolean; runs: number; failures: number }
  /** The service calls it before it starts the task. */
  attachHealth(name: string, health: Health): void
}

const refuse = (option: string, problem: string): ServiceError =>
  new ServiceError('ERR_SERVICE_OPTION', `backgroundTask: ${option} ${problem}`)

/**
 * Work that goes on as long as the service, as a component: run when what it needs is ready, run again when it fails or ends, told to end by
 * its signal, awaited.
 */
export function backgroundTask(work: (context: TaskContext) => Promise<void>, options: BackgroundTaskOptions = {}): BackgroundTask {
  knownOptions(refuse, '', options, ['initialDelayMs', 'maxDelayMs', 'heartbeatMs', 'logger'])
  if (work === undefined) throw refuse('work', 'must be a function')
  return new SupervisedTask(functionOption(refuse, 'work', work), {
    initialDelayMs: durationOption(refuse, 'initialDelayMs', options.initialDelayMs ?? 1_000, 0),
    maxDelayMs: durationOption(refuse, 'maxDelayMs', options.maxDelayMs ?? 60_000, 0),
    heartbeatMs: options.heartbeatMs === undefined ? undefined : durationOption(refuse, 'heartbeatMs', options.heartbeatMs, 100),
    logger: safeLogger(options.logger),
  })
}

type Work = (context: TaskContext) => Promise<void>

interface ResolvedBackgroundTaskOptions {
  readonly initialDelayMs: number
  readonly maxDelayMs: number
  readonly heartbeatMs: number | undefined
  readonly logger: LoggerLike
}

class SupervisedTask implements BackgroundTask {
  readonly #work: Work
  readonly #options: ResolvedBackgroundTaskOptions
  readonly #ending = new AbortController()
  #name = 'background task'
  #health: Health | undefined
  #looping: Promise<void> | undefined
  #running = false
  #runs = 0
  #failures = 0

  constructor(work: Work, options: ResolvedBackgroundTaskOptions) {
    this.#work = work
    this.#options = options
  }

  attachHealth(name: string, health: Health): void {
    this.#name = name
    this.#health = health
  }

  async ready(): Promise<void> {
    this.#looping ??= this.#loop(this.#ending.signal)
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { initialDelayMs, maxDelayMs, logger } = this.#options
    for (let failedInARow = 0; !signal.aborted; ) {
      const from = performance.now()
      const ended = await this.#runOnce(signal)
      if (signal.aborted) return
      failedInARow = performance.now() - from >= maxDelayMs ? 1 : failedInARow + 1
      const pauseMs = Math.round(backoffMs(failedInARow, initialDelayMs, maxDelayMs))
      const fields = { task: this.#name, pauseMs, ...('error' in ended ? { err: ended.error } : {}) }
      logger.warn(fields, 'error' in ended ? 'background task failed; it is run again' : 'background task ended; it is run again')
      await backgroundPause(pauseMs, signal)
    }
  }

  async #runOnce(signal: AbortSignal): Promise<{ error?: unknown }> {
    const { heartbeatMs } = this.#options
    const heartbeat: Heartbeat | undefined =
      heartbeatMs === undefined ? undefined : guarded(() => this.#health?.heartbeat(this.#name, { withinMs: heartbeatMs }))
    this.#runs++
    this.#running = true
    try {
      await this.#work({ signal, beat: () => heartbeat?.beat() })
      return {}
    } catch (error) {
      if (!signal.aborted) this.#failures++
      return { error }
    } finally {
      this.#running = false
      heartbeat?.end()
    }
  }

  check(): Promise<void | { status: 'warn'; message: string }> {
    const isWaiting = this.#looping !== undefined && !this.#running && !this.#ending.signal.aborted
    return Promise.resolve(isWaiting ? { status: 'warn', message: 'the task failed and waits to be run again' } : undefined)
  }

  quiesce(): void {
    this.#ending.abort(new ServiceError('ERR_SERVICE_STOPPED', 'the service is stopping'))
  }

  async drain(): Promise<void> {
    this.quiesce()
    await this.#looping
  }

  async close({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> {
    this.quiesce()
    if (this.#looping && !(await settlesWithin(this.#looping, timeoutMs))) {
      throw new ServiceError('ERR_SERVICE_TIMEOUT', `${this.#name} did not end within ${timeoutMs} ms`)
    }
  }

  stats(): { running: boolean; runs: number; failures: number } {
    return { running: this.#running, runs: this.#runs, failures: this.#failures }
  }
}
