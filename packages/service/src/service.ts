import { adminListener } from './admin/listener.ts'
import { ServiceError } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'
import { type ResolvedServiceOptions, resolveOptions, type ServiceOptions } from './options.ts'
import { runUntilSignal } from './signals.ts'
import { startComponents } from './start.ts'
import { type StopReport, stopComponents } from './stop.ts'

export interface Service {
  /** Starts, takes over SIGTERM and SIGINT, resolves after a clean stop; the process then ends by itself. */
  run(): Promise<void>
  /** Resolves when every component is ready. A failure has stopped everything again before it rejects. */
  start(options?: { signal?: AbortSignal }): Promise<void>
  /** Quiesce, drain, close; never rejects. Later calls share the first one's promise. */
  stop(reason: string): Promise<StopReport>
  /** Ends a stop under way (or begins one) without draining: everything has one second to close. */
  stopFast(reason: string): Promise<StopReport>
  /** The admin listener's port while it listens. */
  readonly adminPort: number | undefined
}

export function createService(options: ServiceOptions): Service {
  return new LifecycleService(resolveOptions(options))
}

class LifecycleService implements Service {
  readonly #options: ResolvedServiceOptions
  readonly #logger: LoggerLike
  readonly #admin: ReturnType<typeof adminListener>
  readonly #abortStart = new AbortController()
  readonly #fast = new AbortController()
  #starting: Promise<void> | undefined
  #stopping: Promise<StopReport> | undefined

  constructor(options: ResolvedServiceOptions) {
    this.#options = options
    this.#logger = options.logger
    this.#admin = adminListener(options)
  }

  get adminPort(): number | undefined {
    return this.#admin?.port
  }

  run(): Promise<void> {
    return runUntilSignal(this, { logger: this.#logger, gracePeriodMs: this.#options.gracePeriodMs })
  }

  start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    this.#starting ??= this.#start(signal)
    return this.#starting
  }

  async #start(signal: AbortSignal | undefined): Promise<void> {
    if (this.#stopping) throw new ServiceError('ERR_SERVICE_STOPPED', 'the service was stopped')
    const { levels, health, startTimeoutMs, name } = this.#options
    const from = performance.now()
    const late = new AbortController()
    const timer = setTimeout(
      () => late.abort(new ServiceError('ERR_SERVICE_START_TIMEOUT', `starting took longer than ${startTimeoutMs} ms`)),
      startTimeoutMs,
    )
    const signals = [late.signal, this.#abortStart.signal, ...(signal ? [signal] : [])]
    try {
      const all = AbortSignal.any(signals)
      await this.#admin?.listen(all)
      await startComponents(levels, all, this.#logger)
      all.throwIfAborted()
    } catch (error) {
      // A stop that interrupted the start does the stopping itself, once the start has let go.
      if (!this.#stopping) {
        this.#logger.error({ err: error }, 'service did not start')
        await this.#stopOnce('start failed', Promise.resolve())
      }
      throw error
    } finally {
      clearTimeout(timer)
    }
    health.setState('ready')
    this.#logger.info({ service: name, durationMs: Math.round(performance.now() - from) }, 'service is ready')
  }

  stop(reason: string): Promise<StopReport> {
    if (this.#stopping) return this.#stopping
    const letGo = this.#starting?.catch(() => {}) ?? Promise.resolve()
    const stopping = this.#stopOnce(reason, letGo)
    this.#abortStart.abort(new ServiceError('ERR_SERVICE_STOPPED', 'the service was stopped while it started'))
    return stopping
  }

  stopFast(reason: string): Promise<StopReport> {
    this.#fast.abort()
    return this.stop(reason)
  }

  #stopOnce(reason: string, startLetGo: Promise<void>): Promise<StopReport> {
    this.#stopping ??= this.#stop(reason, startLetGo)
    return this.#stopping
  }

  async #stop(reason: string, startLetGo: Promise<void>): Promise<StopReport> {
    const { levels, health, gracePeriodMs, name } = this.#options
    const from = performance.now()
    health.setState('draining')
    this.#logger.info({ service: name, reason }, 'service stops')
    await startLetGo
    const left = gracePeriodMs - (performance.now() - from)
    const report = await stopComponents({ reason, levels, gracePeriodMs: left, fast: this.#fast.signal, logger: this.#logger })
    health.setState('stopped')
    await health.close({ timeoutMs: 100 })
    await this.#admin?.close()
    const fields = { service: name, ...report, failed: report.failed.map(({ component, phase }) => `${component}: ${phase}`) }
    if (report.cut.length + report.failed.length > 0) this.#logger.warn(fields, 'service stopped, not cleanly')
    else this.#logger.info(fields, 'service stopped')
    return report
  }
}
