import { guarded, settlesWithin } from '@platform/kernel'
import { type AdminListener, adminListener } from './admin/listener.ts'
import { planStop } from './budget.ts'
import { ServiceError } from './errors.ts'
import { createTell, type Tell } from './events.ts'
import type { Node } from './graph.ts'
import { type ResolvedServiceOptions, resolveOptions, type ServiceOptions } from './options.ts'
import { launcherInBetween } from './launcher.ts'
import { followReloads, reloadAll } from './reload.ts'
import { runUntilSignal } from './signals.ts'
import { type StartedComponent, startComponents } from './start.ts'
import { type StopReport, stopComponents } from './stop.ts'
import { createWatchdog, type Watchdog } from './watchdog/watchdog.ts'

export interface Service {
  /** Starts, takes over SIGTERM, SIGINT and SIGHUP, resolves after a stop, whoever asked for it; the process then ends by itself. */
  run(): Promise<void>
  /** Resolves when every component is ready. A failure has stopped everything again before it rejects. Rejects once the service was stopped. */
  start(options?: { signal?: AbortSignal }): Promise<void>
  /** Quiesce, drain, close; never rejects. Later calls share the first one's promise. */
  stop(reason: string): Promise<StopReport>
  /** Ends a stop under way (or begins one) without draining: everything has one second to close. */
  stopFast(reason: string): Promise<StopReport>
  /** The admin listener's port while it listens. */
  readonly adminPort: number | undefined
  /** Where the watchdog answers `/live`, if it was given a port and runs. */
  readonly watchdogPort: number | undefined
}

export function createService(options: ServiceOptions): Service {
  return new LifecycleService(resolveOptions(options))
}

/** A start that lasts says every so often what it waits for. */
const sayWaitingEveryMs = 10_000

class LifecycleService implements Service {
  readonly #options: ResolvedServiceOptions
  readonly #nodes: readonly Node[]
  readonly #admin: AdminListener | undefined
  readonly #tell: Tell
  readonly #watchdog: Watchdog | undefined
  readonly #abortStart = new AbortController()
  readonly #fast = new AbortController()
  readonly #unfollow: (() => void)[] = []
  readonly #stopBegan = Promise.withResolvers<void>()
  #stopBeganAt: number | undefined
  #starting: Promise<void> | undefined
  #stopping: Promise<StopReport> | undefined

  constructor(options: ResolvedServiceOptions) {
    this.#options = options
    this.#nodes = options.levels.flat()
    this.#admin = adminListener(options)
    this.#tell = createTell(options.name, options.logger, options.onEvent)
    const { name, health, watchdog } = options
    this.#watchdog = watchdog && createWatchdog(watchdog, { service: name, health, tell: this.#tell })
  }

  get adminPort(): number | undefined {
    return this.#admin?.port
  }

  get watchdogPort(): number | undefined {
    return this.#watchdog?.port
  }

  get stopBegan(): Promise<void> {
    return this.#stopBegan.promise
  }

  get stopBeganAt(): number | undefined {
    return this.#stopBeganAt
  }

  reload(): void {
    reloadAll(this.#nodes, this.#options.logger)
  }

  run(): Promise<void> {
    if (this.#stopping) return this.#afterStop()
    const between = launcherInBetween()
    if (between !== undefined) {
      const text = `${between} is between the platform and this process and may keep SIGTERM to itself: start it with node in exec form`
      this.#options.logger.warn({ service: this.#options.name }, text)
    }
    return runUntilSignal(this, this.#options)
  }

  start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#stopping) return this.#afterStop()
    this.#starting ??= this.#start(signal)
    return this.#starting
  }

  async #afterStop(): Promise<void> {
    // A start that failed has stopped the service: its error is the better answer.
    await this.#starting
    throw new ServiceError('ERR_SERVICE_STOPPED', 'the service was stopped')
  }

  async #start(signal: AbortSignal | undefined): Promise<void> {
    const { levels, health, startTimeoutMs, version, logger } = this.#options
    const from = performance.now()
    this.#tell({ type: 'starting', version })
    this.#provePlan()
    const waitingFor = new Set<string>()
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(startTimeout(startTimeoutMs, waitingFor)), startTimeoutMs)
    const sayWaiting = setInterval(() => {
      logger.warn({ components: [...waitingFor], waitedMs: Math.round(performance.now() - from) }, 'the start waits')
    }, sayWaitingEveryMs)
    let criticalPath: readonly StartedComponent[] = []
    const all = AbortSignal.any([late.signal, this.#abortStart.signal, ...(signal ? [signal] : [])])
    try {
      await Promise.all([this.#admin?.listen(all), this.#watchdog?.start(all)])
      for (const { name, component } of this.#nodes) guarded(() => component.attachHealth?.(name, health))
      criticalPath = await startComponents({ levels, signal: all, logger, waitingFor })
      all.throwIfAborted()
    } catch (error) {
      // A stop that interrupted the start does the stopping itself, once the start has let go.
      if (!this.#stopping) {
        this.#tell({ type: 'start-failed', error })
        await this.#stopOnce('start failed', Promise.resolve())
      }
      throw error
    } finally {
      clearTimeout(timer)
      clearInterval(sayWaiting)
    }
    this.#unfollow.push(followReloads(this.#nodes, this.#tell), this.#followReadiness())
    this.#tell({ type: 'ready', durationMs: Math.round(performance.now() - from), criticalPath })
    health.setState('ready')
  }

  /** A stop that cannot be as asked is known before it is needed. */
  #provePlan(): void {
    const { gracePeriodMs, logger } = this.#options
    const drainMs = planStop(0, gracePeriodMs).drainUntil
    for (const { name, component } of this.#nodes) {
      const minDrainMs = guarded(() => (component as { minDrainMs?: unknown }).minDrainMs)
      if (typeof minDrainMs !== 'number' || minDrainMs <= (drainMs * 2) / 3) continue
      const fields = { component: name, minDrainMs, gracePeriodMs, possibleMs: Math.round((drainMs * 2) / 3) }
      logger.warn(fields, 'the grace period is too short for minDrainMs: the listener will close earlier')
    }
  }

  #followReadiness(): () => void {
    let wasFailing = false
    const look = ({ failing }: { readonly failing: readonly string[] }): void => {
      if (this.#stopping || failing.length > 0 === wasFailing) return
      wasFailing = failing.length > 0
      this.#tell(wasFailing ? { type: 'not-ready', failing } : { type: 'ready-again' })
    }
    // A health of the user's own, of an older copy, cannot tell.
    return guarded(() => this.#options.health.onChange?.(look)) ?? (() => {})
  }

  stop(reason: string): Promise<StopReport> {
    if (this.#stopping) return this.#stopping
    this.#stopBeganAt = performance.now()
    this.#stopBegan.resolve()
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
    const { levels, health, gracePeriodMs, logger } = this.#options
    const from = performance.now()
    guarded(() => health.setState('draining'))
    this.#tell({ type: 'draining', reason })
    await startLetGo
    const left = gracePeriodMs - (performance.now() - from)
    const report = await stopComponents({ reason, levels, gracePeriodMs: left, fast: this.#fast.signal, logger })
    for (const unfollow of this.#unfollow) guarded(unfollow)
    guarded(() => health.setState('stopped'))
    const closed = async (close: () => Promise<void> | undefined): Promise<void> => guarded(close)
    const last = [closed(() => health.close({ timeoutMs: 100 })), closed(() => this.#admin?.close()), closed(() => this.#watchdog?.close())]
    await settlesWithin(Promise.allSettled(last), 500)
    this.#tell({ type: 'stopped', report })
    return report
  }
}

function startTimeout(ms: number, waitingFor: ReadonlySet<string>): ServiceError {
  const [first, ...others] = waitingFor
  const names = first === undefined ? 'the admin listener' : [first, ...others].join(', ')
  const message = `starting took longer than ${ms} ms: waited for ${names}`
  return new ServiceError('ERR_SERVICE_START_TIMEOUT', message, first === undefined ? {} : { component: first })
}
