import { jittered, pause } from './delay.ts'
import { instruments } from './instrumentation.ts'
import type { LoggerLike } from './logger.ts'
import { type Instance, instanceKey, type RegistryConnection } from './registry.ts'

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 10_000
/** Reads that may follow each other at once; then one per second, so that a busy index does not become a flood. */
const BURST = 5
const REFILL_MS = 1000

interface SourceOptions {
  service: string
  registry: string
  connection: RegistryConnection
  emptyConfirmMs: number
  logger: LoggerLike | undefined
  onUpdate(): void
}

/** Follows one service in one registry, for as long as it is open and whatever happens. */
export class Source {
  /** Undefined until the first answer. */
  instances: readonly Instance[] | undefined
  /** Why the last read failed; undefined while the registry answers. */
  failure: unknown
  readonly #options: SourceOptions
  readonly #closing = new AbortController()
  #tokens = BURST
  #pacedAt: number = performance.now()
  /** Whether the last answer was an empty set. */
  #emptySeen = false

  constructor(options: SourceOptions) {
    this.#options = options
    void this.#follow()
  }

  close(): void {
    this.#closing.abort()
  }

  async #follow(): Promise<void> {
    const closing = this.#closing.signal
    let cursor: string | undefined
    let failures = 0
    while (!closing.aborted) {
      await this.#pace()
      try {
        const result = await this.#read(cursor)
        if (failures > 0) this.#log('info', 'registry answers again')
        failures = 0
        this.failure = undefined
        cursor = result.cursor
        if (this.#mayReplace(result.instances)) {
          this.instances = normalized(result.instances)
          this.#options.onUpdate()
        } else {
          cursor = undefined
          await pause(this.#options.emptyConfirmMs, closing)
        }
      } catch (error) {
        if (closing.aborted) return
        instruments().watchFailures.add(1, { registry: this.#options.registry, service: this.#options.service })
        if (failures++ === 0) this.#log('warn', 'registry does not answer; keeping the last instances', error)
        // A registry that was restarted counts from the beginning, so nothing is remembered of where we were.
        cursor = undefined
        this.#emptySeen = false
        this.failure = error
        this.#options.onUpdate()
        await pause(jittered(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10))), closing)
      }
    }
  }

  /** A connection that went silent gives no error, so every read has an end. */
  async #read(cursor: string | undefined) {
    const { connection, service } = this.#options
    const closing = this.#closing.signal
    const { readTimeoutMs } = connection
    const signal = readTimeoutMs === undefined ? closing : AbortSignal.any([closing, AbortSignal.timeout(Math.ceil(readTimeoutMs))])
    return connection.read(service, { cursor, signal })
  }

  /** All instances gone at once is more often a registry that lost its data than a service that left: it must still hold after a while. */
  #mayReplace(next: readonly Instance[]): boolean {
    const confirmed = this.#emptySeen
    this.#emptySeen = next.length === 0
    if (next.length > 0 || confirmed || (this.instances?.length ?? 0) === 0) return true
    this.#log('warn', 'registry reports no instance at all; waiting for confirmation')
    return false
  }

  async #pace(): Promise<void> {
    const now = performance.now()
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#pacedAt) / REFILL_MS)
    this.#pacedAt = now
    if (--this.#tokens < 0) await pause(-this.#tokens * REFILL_MS, this.#closing.signal)
  }

  #log(level: 'info' | 'warn', message: string, err?: unknown): void {
    const { registry, service } = this.#options
    this.#options.logger?.[level]({ registry, service, ...(err === undefined ? {} : { err }) }, message)
  }
}

/** Frozen and in a fixed order, so that equal sets look equal. */
function normalized(instances: readonly Instance[]): readonly Instance[] {
  const sorted = instances.map((instance) => Object.freeze({ ...instance }))
  return Object.freeze(sorted.sort((a, b) => (instanceKey(a) < instanceKey(b) ? -1 : 1)))
}
