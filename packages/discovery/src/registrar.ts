import { backgroundPause, jittered } from '@platform/kernel'
import { DiscoveryError } from './errors.ts'
import type { Heartbeat } from './heartbeat.ts'
import type { LoggerLike } from './logger-like.ts'
import type { RegisteredInstance, Registrations } from './registry.ts'

const RECONCILE_MS = 5000
/** Between two tries while the registry has not confirmed it, at most. */
const RETRY_MS = 1000
const REQUEST_MS = 5000
const REMOVE_MS = 2000

/** Keeps one entry in one registry as it should be: looks again and again, and writes it anew when it is absent or different. */
export class Registrar {
  readonly #registrations: Registrations
  readonly #instance: RegisteredInstance
  readonly #logger: LoggerLike | undefined
  readonly #heartbeat: Heartbeat
  readonly #closing = new AbortController()
  #registered = false
  #starting: Promise<void> = Promise.resolve()
  #loop: Promise<void> = Promise.resolve()

  constructor(registrations: Registrations, instance: RegisteredInstance, logger: LoggerLike | undefined, heartbeat: Heartbeat) {
    this.#registrations = registrations
    this.#instance = instance
    this.#logger = logger
    this.#heartbeat = heartbeat
  }

  get registered(): boolean {
    return this.#registered
  }

  /** Resolves after the first try, done or to be repeated; rejects when the registry refuses for good. */
  async start(): Promise<void> {
    try {
      this.#starting = this.#registrations.put(this.#instance, { signal: AbortSignal.timeout(REQUEST_MS) })
      await this.#starting
      this.#registered = true
      void this.#heartbeat.beat(this.#registrations, this.#instance, this.#closing.signal)
    } catch (error) {
      if (DiscoveryError.isInstance(error) && error.code === 'ERR_DISCOVERY_REFUSED') throw error
      this.#log('warn', 'not registered yet; trying on', error)
    }
    this.#loop = this.#reconcile()
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    this.#heartbeat.forget(this.#instance)
    // A write under way must end first: it could reach the registry after the removal.
    await this.#starting.catch(() => {})
    await this.#loop
    try {
      await this.#registrations.remove(this.#instance.id, { signal: AbortSignal.timeout(REMOVE_MS) })
      this.#registered = false
    } catch (error) {
      this.#log('warn', 'not deregistered; the registry removes it when its check has failed long enough', error)
    }
  }

  async #reconcile(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const everyMs = this.#everyMs()
      await backgroundPause(this.#registered ? everyMs : Math.min(everyMs, jittered(RETRY_MS)), this.#closing.signal)
      if (!this.#closing.signal.aborted) await this.#confirm()
    }
  }

  #everyMs(): number {
    const { check } = this.#instance
    return this.#registrations.confirmEveryMs ?? jittered('ttlMs' in check ? Math.min(RECONCILE_MS, check.ttlMs / 3) : RECONCILE_MS)
  }

  async #confirm(): Promise<void> {
    try {
      if (await this.#registrations.confirm(this.#instance, { signal: AbortSignal.timeout(REQUEST_MS) })) {
        this.#registered = true
        void this.#heartbeat.beat(this.#registrations, this.#instance, this.#closing.signal)
        return
      }
      await this.#registrations.put(this.#instance, { signal: AbortSignal.timeout(REQUEST_MS) })
      this.#log('info', this.#registered ? 'the registry had lost this instance; registered again' : 'registered')
      this.#registered = true
    } catch (error) {
      if (this.#registered) this.#log('warn', 'registration not confirmed; trying on', error)
      this.#registered = false
    }
  }

  #log(level: 'info' | 'warn', message: string, err?: unknown): void {
    const { service, id } = this.#instance
    this.#logger?.[level]({ service, instance: id, ...(err === undefined ? {} : { err }) }, message)
  }
}
